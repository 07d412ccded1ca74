"""Whether the server lives, is ready, and how each part of it does.

Anybody may ask, so the answers hold no host, count, error's text or name of a project. Nothing that
is paid for is asked: models are told of as their last real calls went, and as a connection to where
they are asked went, which is made at most every half minute and sends no request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import Request
from pydantic import BaseModel, Field

import holdfast
from holdfast.config import INDEX
from holdfast.errors import HoldfastError, StoreUnavailableError
from holdfast.limits import DEPENDENCY_TIMEOUT_S, QUEUE_AGE_MAX_S
from holdfast.metrics import Part, Sight
from holdfast.server.deployment import Deployment
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

if TYPE_CHECKING:
    from holdfast.backends.models.endpoints import Look

route = Routes("Health")
router = route.router

State = Literal["ok", "degraded", "down", "unknown", "off"]
"""degraded: it works, not as it should; down: it does not; unknown: it was not used yet; off: it is
not configured."""


_UNREACHABLE = "UNREACHABLE"


class Live(BaseModel):
    """The process runs."""

    status: Literal["ok"]


class Ready(BaseModel):
    """Whether requests should be sent here."""

    status: Literal["ready", "draining", "store_unavailable"]


class PartHealth(BaseModel):
    """How one part does."""

    status: State
    latency_ms: Annotated[float | None, Field(examples=[0.4])] = None
    """Of the last look, or of the last real call of a model."""
    last_success: Annotated[str | None, Field(examples=["2026-01-02T03:04:05+00:00"])] = None
    """UTC, ISO 8601; of models and the store."""
    error: Annotated[str | None, Field(examples=["MODEL_UNAVAILABLE"])] = None
    """The code of the error, where it does not do well; UNREACHABLE: there is no connection."""
    reachable: bool | None = None
    """Of models: whether one that may be asked was connected to; null where that is not tried."""
    connect_ms: Annotated[float | None, Field(examples=[12.5])] = None
    """How long that took, TLS included."""
    last_reached: Annotated[str | None, Field(examples=["2026-01-02T03:04:05+00:00"])] = None
    """UTC, ISO 8601: when one was made last."""


class Health(BaseModel):
    """How everything does. `status` is down if the store is, degraded if any part is not well."""

    status: Literal["ok", "degraded", "down"]
    version: str
    draining: bool
    parts: dict[str, PartHealth]
    """records, index, queue, embedder, llm, reranker, cache, redis (of the limits), backup"""


@route("HEAD", "/health/live", include_in_schema=False)
@route("GET", "/health/live", summary="Is the process alive", response_model=Live)
async def live() -> Reply:
    """Always 200: ask it to know whether to restart the process."""
    return Reply({"status": "ok"})


@route("HEAD", "/health/ready", include_in_schema=False)
@route(
    "GET",
    "/health/ready",
    summary="Should requests be sent here",
    response_model=Ready,
    responses={503: {"model": Ready, "description": "Not now."}},
)
async def ready(request: Request) -> Reply:
    """200, or 503 from the moment it is told to stop, and while its store does not answer."""
    deployment: Deployment | None = request.app.state.deployment
    if deployment is None:  # its store was not there yet
        return Reply({"status": "store_unavailable"}, 503)
    if deployment.draining:
        return Reply({"status": "draining"}, 503)
    if (await _records(deployment)).status != "ok":
        return Reply({"status": "store_unavailable"}, 503)
    return Reply({"status": "ready"})


@route("HEAD", "/health", include_in_schema=False)
@route(
    "GET",
    "/health",
    summary="How each part does",
    response_model=Health,
    responses={503: {"model": Health, "description": "The store does not answer."}},
)
async def health(request: Request) -> Reply:
    """200 as long as the store answers, whatever else is away; 503 if it does not."""
    deployment: Deployment | None = request.app.state.deployment
    if deployment is None:
        return Reply(_waiting().model_dump(), 503)
    config = deployment.admin.config
    metrics = deployment.admin.metrics
    local = deployment.admin.embeds_here
    records, queue, cache, redis, backup, embedder, llm, reranker = await asyncio.gather(
        _records(deployment),
        _queue(deployment),
        _cache(deployment),
        _redis(deployment),
        _backup(deployment),
        _model(deployment, "embedder", there=not local),
        _model(deployment, "llm", there=config.llm is not None),
        _model(deployment, "reranker", there=config.reranker is not None),
    )
    parts = {
        "records": records,
        # the embedded one is in this process, over the records
        "index": PartHealth(status=records.status)
        if config.index.provider == INDEX
        else seen(metrics.sight("index"), there=True),
        "queue": queue,
        "embedder": PartHealth(status="ok") if local else embedder,
        "llm": llm,
        "reranker": reranker,
        "cache": cache,
        "redis": redis,
        "backup": backup,
    }
    ill = any(part.status in ("degraded", "down") for part in parts.values())
    told = Health(
        status="down" if records.status == "down" else "degraded" if ill else "ok",
        version=holdfast.__version__,
        draining=deployment.draining,
        parts=parts,
    )
    return Reply(told.model_dump(), 503 if told.status == "down" else 200)


def _waiting() -> Health:
    """How everything does while the store was not there yet since the server began."""
    records = PartHealth(status="down", error=StoreUnavailableError.code)
    parts = {"records": records}
    return Health(status="down", version=holdfast.__version__, draining=False, parts=parts)


def seen(sight: Sight, *, there: bool) -> PartHealth:
    """How a model does, by its last calls."""
    if not there:
        return PartHealth(status="off")
    if not sight.succeeded_at and not sight.failed_at:
        return PartHealth(status="unknown")
    failing = sight.failed_at > sight.succeeded_at
    return PartHealth(
        status="down" if failing else "ok",
        latency_ms=round(sight.took_s * 1000, 3) if sight.succeeded_at else None,
        last_success=_written(sight.succeeded_at) if sight.succeeded_at else None,
        error=sight.error_code if failing else None,
    )


async def _model(deployment: Deployment, part: Part, *, there: bool) -> PartHealth:
    sight = deployment.admin.metrics.sight(part)
    told = seen(sight, there=there)
    if not there or not deployment.admin.config.server.health_connects:
        return told
    return connected(told, sight, await deployment.admin.reach(part))


def connected(told: PartHealth, sight: Sight, looks: Sequence[Look]) -> PartHealth:
    """How a model does, by its last calls and by connections to where it is asked, in that order.

    What happened last counts. One that was not called yet is well if it is reached, and a part
    whose first model is not reached, while another one is, is degraded.
    """
    if not looks:
        return told
    reached = [look for look in looks if look.reached]
    best = reached[0] if reached else looks[0]
    last = max(look.reached_at for look in looks)
    status, error = told.status, told.error
    if not reached and sight.succeeded_at <= best.at:
        status, error = "down", error or _UNREACHABLE
    elif reached and status == "unknown":
        status = "ok"
    if status == "ok" and not looks[0].reached and sight.succeeded_at <= looks[0].at:
        status, error = "degraded", _UNREACHABLE
    return told.model_copy(
        update={
            "status": status,
            "error": error,
            "reachable": bool(reached),
            "connect_ms": round(best.took_s * 1000, 3) if reached else None,
            "last_reached": _written(last) if last else None,
        }
    )


async def _records(deployment: Deployment) -> PartHealth:
    return await _asked(deployment.admin.probe)


async def _queue(deployment: Deployment) -> PartHealth:
    late = False

    async def ask() -> None:
        nonlocal late
        late = (await deployment.counted.census()).oldest_due_s > QUEUE_AGE_MAX_S

    found = await _asked(ask)
    return found.model_copy(update={"status": "degraded"}) if late else found


async def _cache(deployment: Deployment) -> PartHealth:
    return await _asked(deployment.admin.probe_cache)


async def _redis(deployment: Deployment) -> PartHealth:
    limiter = deployment.limiter
    if not limiter.in_redis:
        return PartHealth(status="off")
    began = time.perf_counter()
    if not await limiter.probe():
        return PartHealth(status="down", error="REDIS")
    return _well(began)


async def _backup(deployment: Deployment) -> PartHealth:
    """Degraded if the newest is too old, or one has failed since."""
    admin = deployment.admin
    if admin.config.backup is None:
        return PartHealth(status="off")
    ill = False

    async def ask() -> None:
        nonlocal ill
        ill = not (await deployment.backed_up.status()).well

    found = await _asked(ask)
    if found.status == "down":  # where they are kept is away: nothing here is
        return found.model_copy(update={"status": "degraded"})
    return found.model_copy(update={"status": "degraded"}) if ill else found


async def _asked(ask: Callable[[], Awaitable[object]]) -> PartHealth:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(DEPENDENCY_TIMEOUT_S):
            await ask()
    except HoldfastError as error:
        return PartHealth(status="down", error=error.code)
    except TimeoutError:
        return PartHealth(status="down", error="TIMEOUT")
    return _well(began)


def _well(began: float) -> PartHealth:
    took_s = time.perf_counter() - began
    return PartHealth(
        status="ok", latency_ms=round(took_s * 1000, 3), last_success=_written(time.time())
    )


def _written(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds")
