"""Holdfast, Mem0 and the bare limit, side by side on the same data and the same embedder."""
