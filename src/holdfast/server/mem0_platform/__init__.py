"""The routes of Mem0's hosted platform."""

from holdfast.server.mem0_platform import (
    adding,
    entities,
    exports,
    items,
    profiles,
    projects,
    reading,
    webhooks,
)

PARTS = (
    adding,
    reading,
    profiles,  # before the entities, whose names may hold a slash
    entities,
    exports,
    items,
    projects,
    webhooks,
)
"""The modules that have routes; of two that fit a path, the first one answers."""
