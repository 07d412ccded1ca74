"""Our own routes: one for each verb of `AsyncMemory`, with its arguments and its answers."""

from __future__ import annotations

from holdfast.server.routing import Routes

route = Routes("Holdfast")
router = route.router
