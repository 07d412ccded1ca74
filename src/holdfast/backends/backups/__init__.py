"""Where backups are kept, and how they are compressed."""
