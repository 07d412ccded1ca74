"""What finds personal data in texts."""
