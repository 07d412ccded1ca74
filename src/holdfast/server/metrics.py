"""`/metrics`, for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from holdfast.server.census import Families
from holdfast.server.context import Context, allow
from holdfast.server.routing import Routes

route = Routes("Metrics")
router = route.router


@route(
    "GET",
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Prometheus' text format.",
        }
    },
)
async def metrics(context: Annotated[Context, Depends(allow("metrics"))]) -> Response:
    """Counts, times and sizes of the server and what stands behind it.

    Needs the admin key, unless the setting `metrics_open` is on.
    """
    deployment = context.deployment
    names = deployment.admin.config.server.metrics_mem0_names
    telemetry = deployment.telemetry
    telemetry.take(deployment.admin.metrics)
    telemetry.limits_shared(deployment.limiter.shared)
    families = Families(await deployment.counted.census(), mem0_names=names)
    return Response(telemetry.written(families), media_type=CONTENT_TYPE_LATEST)
