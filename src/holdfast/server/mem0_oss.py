"""The routes of Mem0's open-source server: the same verbs, without a version and a last slash."""

from __future__ import annotations

from holdfast.server.routing import Routes

route = Routes("Mem0 open source")
router = route.router
