"""A conversation to try Holdfast with: nine months of one person's life, told to an assistant."""
