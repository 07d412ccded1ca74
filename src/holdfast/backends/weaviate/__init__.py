"""An index in Weaviate."""
