"""The `holdfast` command: uses the public library only."""
