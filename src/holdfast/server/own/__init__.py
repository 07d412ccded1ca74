"""Our own routes, below `/holdfast`: a module for each verb or subject."""

from holdfast.server.own import (
    admin,
    audit,
    backups,
    costs,
    embedder,
    erasure,
    index,
    quarantine,
    retention,
    verbs,
    webhooks,
)

PARTS = (
    verbs,
    admin,
    audit,
    backups,
    costs,
    embedder,
    index,
    erasure,
    retention,
    quarantine,
    webhooks,
)
"""The modules that have routes; of two that fit a path, the first one answers."""
