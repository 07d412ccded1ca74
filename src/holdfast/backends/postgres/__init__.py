"""Records in Postgres: the store that several instances share."""
