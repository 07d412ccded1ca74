"""`/metrics`, for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from holdfast.server.census import Families
from holdfast.server.context import allow
from holdfast.server.deployment import Deployment
from holdfast.server.routing import Routes

route = Routes("Metrics")
router = route.router

_credential = allow("metrics")


async def admitted(request: Request) -> None:
    """Lets an admin key in, or anybody where the metrics are open."""
    deployment: Deployment = request.app.state.deployment
    if deployment.admin.config.server.metrics_open:
        request.scope["holdfast_operation"] = "metrics"
    else:
        await _credential(request)


admitted.operation = "metrics"  # type: ignore[attr-defined]


@route(
    "GET",
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
)
async def metrics(request: Request, _: Annotated[None, Depends(admitted)]) -> Response:
    """Counts, times and sizes of the server and what stands behind it.

    Needs the admin key, unless the setting `metrics_open` is on.
    """
    deployment: Deployment = request.app.state.deployment
    names = deployment.admin.config.server.metrics_mem0_names
    telemetry = deployment.telemetry
    telemetry.take(deployment.admin.metrics)
    telemetry.limits_shared(deployment.limiter.shared)
    families = Families(await deployment.counted.census(), mem0_names=names)
    return Response(telemetry.written(families), media_type=CONTENT_TYPE_LATEST)
