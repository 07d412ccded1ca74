"""Our own routes to what was sent to webhooks: list it, send it again; change a secret."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from holdfast.clock import iso
from holdfast.directory import Delivery
from holdfast.limits import PAGE_SIZE_MAX
from holdfast.model import Json
from holdfast.server.bodies import Done
from holdfast.server.context import Context, allow
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Holdfast: webhooks")
router = route.router

WebhookId = Annotated[str, Path(examples=["0197a3c0-0000-7000-8000-000000000000"])]
DeliveryId = Annotated[str, Path(examples=["0197a3c0-0000-7000-8000-000000000001"])]


class DeliveryShape(BaseModel):
    """A message to a webhook."""

    id: Annotated[str, Field(description="As in the header X-Holdfast-Delivery.")]
    event: str
    event_details: Annotated[
        dict[str, Any] | None,
        Field(description="What is told, without the text of a memory; null once it is delivered."),
    ]
    state: Literal["PENDING", "DELIVERED", "FAILED"]
    attempts: int
    next_attempt_at: str | None
    answer: Annotated[int | None, Field(description="Status code of the last answer.")]
    error: str | None
    created_at: str
    completed_at: str | None


class DeliveriesShape(BaseModel):
    """A page of messages to a webhook."""

    results: list[DeliveryShape]


@route(
    "GET",
    "/holdfast/webhooks/{webhook_id}/deliveries",
    summary="List deliveries",
    response_model=DeliveriesShape,
)
async def deliveries(
    webhook_id: WebhookId,
    context: Annotated[Context, Depends(allow("webhooks"))],
    state: Literal["PENDING", "DELIVERED", "FAILED"] | None = None,
    page: Annotated[int, Query(ge=1, le=2**31)] = 1,
    page_size: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = 100,
) -> Reply:
    """What was, is or will be sent to a webhook, the newest first."""
    found = await context.admin.webhooks.deliveries(
        webhook_id, state=state, page=page, page_size=page_size, project=context.project
    )
    return Reply({"results": [_delivery(each) for each in found]})


@route(
    "POST",
    "/holdfast/webhooks/{webhook_id}/deliveries/{delivery_id}/rerun",
    summary="Send a failed delivery again",
    response_model=Done,
)
async def rerun_delivery(
    webhook_id: WebhookId,
    delivery_id: DeliveryId,
    context: Annotated[Context, Depends(allow("change_webhooks"))],
) -> Reply:
    """Send a dead-lettered message again, with all its tries."""
    await context.admin.webhooks.rerun(webhook_id, delivery_id, project=context.project)
    return Reply({"message": "The delivery is sent again"})


class SecretBody(BaseModel):
    """How long the old secret signs as well."""

    model_config = ConfigDict(extra="forbid")

    grace_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0


class SecretShape(BaseModel):
    """A webhook's new secret; it is told in this answer and never again."""

    webhook_id: str
    secret: str
    old_secret_until: str | None


@route(
    "POST",
    "/holdfast/webhooks/{webhook_id}/rotate",
    summary="Change a webhook's secret",
    response_model=SecretShape,
)
async def rotate_secret(
    webhook_id: WebhookId,
    body: SecretBody,
    context: Annotated[Context, Depends(allow("change_webhooks"))],
) -> Reply:
    """Sign with a new secret from now on, and with the old one too for `grace_s` seconds."""
    changed = await context.admin.webhooks.rotate_secret(
        webhook_id, grace_s=body.grace_s, project=context.project
    )
    until = iso(changed.old_secret_until)
    return Reply({"webhook_id": changed.id, "secret": changed.secret, "old_secret_until": until})


def _delivery(delivery: Delivery) -> dict[str, Json]:
    return {
        "id": delivery.id,
        "event": delivery.event,
        "event_details": delivery.body.get("event_details"),
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_attempt_at": iso(delivery.run_after) if delivery.state == "PENDING" else None,
        "answer": delivery.answer,
        "error": delivery.error,
        "created_at": iso(delivery.created_at),
        "completed_at": iso(delivery.completed_at),
    }
