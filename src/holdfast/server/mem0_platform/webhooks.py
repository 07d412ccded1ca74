"""The routes of Mem0's hosted platform for webhooks."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path
from pydantic import BaseModel, Field

from holdfast.clock import iso
from holdfast.core.webhooks import EVENT_TYPES
from holdfast.directory import Webhook
from holdfast.errors import NotFoundError, ValidationError
from holdfast.model import Json
from holdfast.server.bodies import Body, Done
from holdfast.server.context import Context, allow
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Mem0 platform: webhooks", slashes=True)
router = route.router

Project = Annotated[str, Path(examples=["default"])]
WebhookId = Annotated[str, Path(examples=["0197a3c0-0000-7000-8000-000000000000"])]


class NewWebhookBody(Body):
    """A webhook to make."""

    url: Annotated[str, Field(examples=["https://example.com/hooks/memories"])]
    name: Annotated[str, Field(min_length=1, max_length=256, examples=["mirror"])]
    event_types: Annotated[list[str], Field(min_length=1, examples=[list(EVENT_TYPES[:3])])]


class WebhookBody(Body):
    """What is to be changed of a webhook; what is left out stays as it is."""

    url: Annotated[str | None, Field(examples=["https://example.com/hooks/memories"])] = None
    name: Annotated[str | None, Field(min_length=1, max_length=256)] = None
    event_types: Annotated[list[str] | None, Field(min_length=1)] = None
    is_active: bool | None = None
    """false: it is told of nothing until it is true again."""


class WebhookShape(BaseModel):
    """A webhook."""

    webhook_id: str
    name: str
    url: str
    event_types: list[str]
    owner: Annotated[str, Field(description="The project it belongs to.")]
    is_active: bool
    project: str
    created_at: str
    updated_at: str


class NewWebhookShape(WebhookShape):
    """A webhook just made."""

    secret: Annotated[str, Field(description="Signs the messages; told in this answer only.")]


@route(
    "GET",
    "/api/v1/webhooks/projects/{project_id}",
    summary="List webhooks",
    response_model=list[WebhookShape],
)
async def webhooks(
    project_id: Project, context: Annotated[Context, Depends(allow("webhooks"))]
) -> Reply:
    """The webhooks of the project; their secrets are not told again."""
    _check(context, project_id)
    found = await context.admin.webhooks.listed(project=context.project)
    return Reply([_shape(webhook) for webhook in found])


@route(
    "POST",
    "/api/v1/webhooks/projects/{project_id}",
    summary="Create a webhook",
    status_code=201,
    response_model=NewWebhookShape,
)
async def create_webhook(
    project_id: Project,
    body: NewWebhookBody,
    context: Annotated[Context, Depends(allow("change_webhooks"))],
) -> Reply:
    """A webhook is told of what happens from now on. Its `secret` signs the messages; it is told
    in this answer only."""
    _check(context, project_id)
    made = await context.admin.webhooks.create(
        body.name, body.url, body.event_types, project=context.project
    )
    return Reply({**_shape(made), "secret": made.secret}, 201)


@route("PUT", "/api/v1/webhooks/{webhook_id}", summary="Change a webhook", response_model=Done)
async def update_webhook(
    webhook_id: WebhookId,
    body: WebhookBody,
    context: Annotated[Context, Depends(allow("change_webhooks"))],
) -> Reply:
    """Change where a webhook is, its name, what it is told of, or whether it is told at all."""
    values = body.model_dump(exclude_none=True)
    if not values:
        raise ValidationError("Nothing to update.", hint="Give url, name or event_types.")
    await context.admin.webhooks.update(webhook_id, project=context.project, **values)
    return Reply({"message": "Webhook updated successfully"})


@route("DELETE", "/api/v1/webhooks/{webhook_id}", summary="Delete a webhook", response_model=Done)
async def delete_webhook(
    webhook_id: WebhookId, context: Annotated[Context, Depends(allow("change_webhooks"))]
) -> Reply:
    """Delete a webhook, and what waits to be sent to it."""
    await context.admin.webhooks.delete(webhook_id, project=context.project)
    return Reply({"message": "Webhook deleted successfully"})


def _check(context: Context, project_id: str) -> None:
    """Refuse every project but the caller's own: a webhook is found again by its id alone."""
    if project_id != context.project:
        raise NotFoundError("There is no such project.", hint="`ping` tells the right one.")


def _shape(webhook: Webhook) -> dict[str, Json]:
    return {
        "webhook_id": webhook.id,
        "name": webhook.name,
        "url": webhook.url,
        "event_types": list(webhook.event_types),
        "owner": webhook.project,
        "is_active": webhook.is_active,
        "project": webhook.project,
        "created_at": iso(webhook.created_at),
        "updated_at": iso(webhook.updated_at),
    }
