"""What Prometheus reads."""

from __future__ import annotations

from holdfast.server.routing import Routes

route = Routes("Metrics")
router = route.router
