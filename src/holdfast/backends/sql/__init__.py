"""The statements of the record database, the same for every engine that speaks SQL."""
