"""Records in one SQLite file: the embedded store."""
