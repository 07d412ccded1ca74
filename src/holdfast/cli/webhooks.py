"""Webhooks from the command line: set up, looked at, and what was sent to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import output
from holdfast.cli.access import Project, done, say
from holdfast.cli.options import Common
from holdfast.clock import iso
from holdfast.core.webhooks import EVENT_TYPES

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin
    from holdfast.directory import Delivery, Webhook

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="The webhook.")]


def create_webhook(
    common: Common,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where messages go.")],
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What it is called.")] = "",
    event: Annotated[
        list[str] | None,
        typer.Option("--event", metavar="TYPE", help="May be repeated. Default: all there are."),
    ] = None,
    project: Project = None,
) -> None:
    """Have an address told of what happens in a project; the secret is printed this once."""

    async def work(admin: AsyncAdmin) -> Webhook:
        info = await admin.project(project)
        types = event or list(EVENT_TYPES)
        return await admin.webhooks.create(name or url[:256], url, types, project=info.id)

    _show_secret(common, done(common, work))


def list_webhooks(common: Common, project: Project = None) -> None:
    """List the webhooks of a project, the oldest first."""

    async def work(admin: AsyncAdmin) -> Sequence[Webhook]:
        info = await admin.project(project)
        return await admin.webhooks.listed(project=info.id)

    webhooks = [_webhook_shape(one) for one in done(common, work)]
    if common.json:
        output.print_json({"results": webhooks})
        return
    if not webhooks:
        typer.echo("No webhooks.")
        return
    made = output.table("id", "name", "url", "told of", "on")
    for one in webhooks:
        words = (one["id"], one["name"], one["url"], " ".join(one["event_types"]))
        made.add_row(*map(output.printable, words), "yes" if one["is_active"] else "no")
    output.console(no_color=common.no_color).print(made)


def delete_webhook(common: Common, webhook_id: WebhookId, project: Project = None) -> None:
    """Delete a webhook and what waits to be sent to it."""

    async def work(admin: AsyncAdmin) -> None:
        await admin.webhooks.delete(webhook_id, project=project)

    done(common, work)
    say(common, {"id": webhook_id, "deleted": True}, f"Deleted {output.printable(webhook_id)}.")


def rotate_secret(
    common: Common,
    webhook_id: WebhookId,
    grace: Annotated[
        float, typer.Option("--grace", metavar="SECONDS", help="How long the old one signs too.")
    ] = 0.0,
    project: Project = None,
) -> None:
    """Sign with a new secret from now on; it is printed this once."""

    async def work(admin: AsyncAdmin) -> Webhook:
        return await admin.webhooks.rotate_secret(webhook_id, grace_s=grace, project=project)

    _show_secret(common, done(common, work))


def list_deliveries(
    common: Common,
    webhook_id: WebhookId,
    state: Annotated[
        str | None, typer.Option("--state", help="PENDING, DELIVERED or FAILED.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many at most.")] = 20,
    project: Project = None,
) -> None:
    """List what was, is or will be sent to a webhook, the newest first."""
    wanted: Any = None if state is None else state.upper()

    async def work(admin: AsyncAdmin) -> Sequence[Delivery]:
        return await admin.webhooks.deliveries(
            webhook_id, state=wanted, page_size=limit, project=project
        )

    found = [_delivery_shape(one) for one in done(common, work)]
    if common.json:
        output.print_json({"results": found})
        return
    if not found:
        typer.echo("No deliveries.")
        return
    made = output.table("id", "event", "state", "tries", "answer", "error", "made")
    for one in found:
        counts = (str(one["attempts"]), str(one["answer"] or ""))
        error = output.printable(one["error"] or "")
        made.add_row(
            one["id"], one["event"], one["state"], *counts, error, output.minute(one["created_at"])
        )
    output.console(no_color=common.no_color).print(made)


def retry_delivery(
    common: Common,
    webhook_id: WebhookId,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="A failed one.")],
    project: Project = None,
) -> None:
    """Send a dead-lettered message again: a server or worker on the store does it."""

    async def work(admin: AsyncAdmin) -> None:
        await admin.webhooks.rerun(webhook_id, delivery_id, project=project)

    done(common, work)
    line = f"{output.printable(delivery_id)} is sent again by the next server or worker."
    say(common, {"id": delivery_id, "state": "PENDING"}, line)


def _show_secret(common: Common, webhook: Webhook) -> None:
    """The secret for programs, the id for people."""
    if common.json:
        until = iso(webhook.old_secret_until)
        secrets = {"secret": webhook.secret, "old_secret_until": until}
        output.print_json({**_webhook_shape(webhook), **secrets})
        return
    typer.echo(webhook.secret)
    typer.echo(f"Keep it: it is told this once. The webhook is {webhook.id}.", err=True)


def _webhook_shape(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "project": webhook.project,
        "name": webhook.name,
        "url": webhook.url,
        "event_types": list(webhook.event_types),
        "is_active": webhook.is_active,
        "created_at": iso(webhook.created_at),
        "updated_at": iso(webhook.updated_at),
    }


def _delivery_shape(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "event": delivery.event,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "answer": delivery.answer,
        "error": delivery.error,
        "created_at": iso(delivery.created_at),
        "completed_at": iso(delivery.completed_at),
    }


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "webhook": (
        "Set up webhooks, see what was sent to them, send it again, change their secrets.",
        {
            "create": create_webhook,
            "list": list_webhooks,
            "delete": delete_webhook,
            "rotate": rotate_secret,
            "deliveries": list_deliveries,
            "retry": retry_delivery,
        },
    ),
}
