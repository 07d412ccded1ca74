"""An index in Postgres with the extension pgvector."""
