"""Holdfast's server and Mem0 behind FastAPI, side by side under the same load."""
