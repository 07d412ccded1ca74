"""`ports.Index` twice: in this process, and on candidates that a vector database names."""
