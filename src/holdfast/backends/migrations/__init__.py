"""Alembic migrations of the record database; the newest revision equals `backends.schema`."""
