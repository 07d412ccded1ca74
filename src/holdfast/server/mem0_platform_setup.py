"""The set-up routes of Mem0's hosted platform: projects, members, webhooks, exports, feedback."""

from __future__ import annotations

from holdfast.server.routing import Routes

route = Routes("Mem0 platform: projects", slashes=True)
router = route.router
