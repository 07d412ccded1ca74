"""The clients of a Holdfast server: `AsyncClient`, and `Client`, which blocks."""
