"""The routes of Mem0's open-source server."""

from holdfast.server.mem0_oss import accounts, memories, settings

PARTS = (memories, accounts, settings)
"""The modules that have routes; of two that fit a path, the first one answers."""
