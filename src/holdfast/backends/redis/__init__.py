"""A cache in a Redis that several processes share, and the connections to it."""
