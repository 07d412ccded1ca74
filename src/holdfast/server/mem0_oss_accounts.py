"""The routes by which people sign in to Mem0's open-source server, and keep its keys."""

from __future__ import annotations

from holdfast.server.routing import Routes

route = Routes("Mem0 open source: accounts")
router = route.router
