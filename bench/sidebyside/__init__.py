"""Holdfast, Mem0 and the bare limit, measured side by side on the same data and the same embedder."""
