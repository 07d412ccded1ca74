"""Measures recall on conversations whose evidence is annotated, without any model."""
