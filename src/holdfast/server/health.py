"""Whether the server lives, is ready, and how each part of it does."""

from __future__ import annotations

from holdfast.server.routing import Routes

route = Routes("Health")
router = route.router
