"""Webhooks: set up, changed, taken away, and fed with what happened in their project."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from holdfast.core import webhooks as telling
from holdfast.directory import Change, Delivery, Held, Row, Webhook, Where
from holdfast.engine.parts import Parts
from holdfast.errors import ConflictError, NotFoundError
from holdfast.limits import WEBHOOK_PENDING_MAX, WEBHOOKS_PER_PROJECT_MAX
from holdfast.model import Job, JobState, Json, Struct

_CHANGES_MAX = 500
"""Changes of memories read at once."""

_SECRET_BYTES = 32


class WebhookRequest(Struct, frozen=True, kw_only=True):
    """What is to be set of a webhook; None leaves it as it is."""

    name: str | None = None
    url: str | None = None
    event_types: tuple[str, ...] | None = None
    is_active: bool | None = None


async def create(parts: Parts, name: str, url: str, event_types: tuple[str, ...]) -> Webhook:
    """A new webhook, told of what happens from now on. Raises ConflictError for one too many."""
    if await parts.directory.count(Webhook, _mine(parts)) >= WEBHOOKS_PER_PROJECT_MAX:
        raise ConflictError(
            f"The project has {WEBHOOKS_PER_PROJECT_MAX} webhooks already.",
            hint="Delete one, or give one more types of events.",
        )
    now = parts.clock.now()
    webhook = Webhook(
        id=parts.ids.new(),
        project=parts.project,
        name=name,
        url=url,
        event_types=event_types,
        secret=_secret(),
        fed=await parts.directory.last_change(),
        created_at=now,
        updated_at=now,
    )
    await parts.directory.insert(webhook)
    return webhook


async def listed(parts: Parts) -> Sequence[Webhook]:
    """The webhooks of this project, the oldest first."""
    return await parts.directory.select(Webhook, _mine(parts))


async def find(parts: Parts, webhook_id: str) -> Webhook:
    """One webhook of this project. Raises NotFoundError."""
    found = await parts.directory.select(Webhook, *_one(parts, webhook_id))
    if not found:
        raise NotFoundError("There is no such webhook.", hint="List the project's webhooks.")
    return found[0]


async def update(parts: Parts, webhook_id: str, request: WebhookRequest) -> Webhook:
    """Change a webhook; one that is switched on again is not told of what it missed."""
    webhook = await find(parts, webhook_id)
    given = {name: getattr(request, name) for name in request.__struct_fields__}
    values: dict[str, Json] = {name: value for name, value in given.items() if value is not None}
    if request.is_active and not webhook.is_active:
        values["fed"] = await parts.directory.last_change()
    values["updated_at"] = parts.clock.now()
    await parts.directory.update(Webhook, *_one(parts, webhook_id), values=values)
    return replace(webhook, **values)


async def rotate(parts: Parts, webhook_id: str, grace_s: float) -> Webhook:
    """Give a webhook a new secret; the old one signs as well for `grace_s` seconds more."""
    webhook, now = await find(parts, webhook_id), parts.clock.now()
    values: dict[str, Json] = {
        "secret": _secret(),
        "old_secret": webhook.secret if grace_s > 0 else None,
        "old_secret_until": now + grace_s if grace_s > 0 else None,
        "updated_at": now,
    }
    await parts.directory.update(Webhook, *_one(parts, webhook_id), values=values)
    return replace(webhook, **values)


def _secret() -> str:
    return f"whsec_{secrets.token_urlsafe(_SECRET_BYTES)}"


async def delete(parts: Parts, webhook_id: str) -> None:
    """Delete a webhook and what waits to be sent to it. Raises NotFoundError."""
    if not await parts.directory.delete(Webhook, *_one(parts, webhook_id)):
        raise NotFoundError("There is no such webhook.", hint="List the project's webhooks.")
    await parts.directory.delete(Delivery, _mine(parts), Where("webhook", webhook_id))


async def deliveries(
    parts: Parts, webhook_id: str, state: str | None, offset: int, size: int
) -> Sequence[Delivery]:
    """What was, is or will be sent to a webhook, the newest first. Raises NotFoundError."""
    await find(parts, webhook_id)
    where = [_mine(parts), Where("webhook", webhook_id)]
    if state is not None:
        where.append(Where("state", state))
    return await parts.directory.select(
        Delivery, *where, newest_first=True, offset=offset, size=size
    )


async def rerun(parts: Parts, webhook_id: str, delivery_id: str) -> None:
    """Send a dead-lettered message again. Raises NotFoundError, ConflictError for another one."""
    await find(parts, webhook_id)
    where = (_mine(parts), Where("webhook", webhook_id), Where("id", delivery_id))
    values: dict[str, Json] = {
        "state": "PENDING",
        "attempts": 0,
        "run_after": parts.clock.now(),
        "error": None,
        "completed_at": None,
    }
    if await parts.directory.update(Delivery, *where, Where("state", "FAILED"), values=values):
        return
    if not await parts.directory.count(Delivery, *where):
        raise NotFoundError("There is no such delivery.", hint="List the webhook's deliveries.")
    raise ConflictError("The delivery has not failed.", hint="Only failed ones are sent again.")


async def feed(parts: Parts, webhooks: Sequence[Webhook]) -> bool:
    """Make deliveries of the changes since the last time; whether there may be more to do at once.

    Each change is told once to each webhook, whatever process does it, and even if one dies here:
    the deliveries and the number of the last change are one transaction, on the condition that
    nobody was faster.
    """
    more = False
    read: dict[int, Sequence[Change]] = {}
    for webhook in webhooks:
        if webhook.fed not in read:
            read[webhook.fed] = await parts.directory.changes(webhook.fed, _CHANGES_MAX)
        changes = read[webhook.fed]
        if changes and not await _is_behind(parts, webhook):
            more = await _told(parts, webhook, changes) or more
    return more


async def _is_behind(parts: Parts, webhook: Webhook) -> bool:
    """Whether so much waits for a webhook that more would only be stored twice."""
    waiting = (Where("webhook", webhook.id), Where("state", "PENDING"))
    return await parts.directory.count(Delivery, *waiting) >= WEBHOOK_PENDING_MAX


async def _told(parts: Parts, webhook: Webhook, changes: Sequence[Change]) -> bool:
    """Make a webhook's deliveries of these changes; whether there is something to send or read."""
    rows = [
        _delivery(parts, webhook, event, body, change.no)
        for change in changes
        if change.project == webhook.project
        for event, body in telling.of_change(change)
        if event in webhook.event_types
    ]
    unchanged = (Where("id", webhook.id), Where("fed", webhook.fed))
    fed: dict[str, Json] = {"fed": changes[-1].no}
    won = await parts.directory.update(Webhook, *unchanged, values=fed, insert=rows)
    return bool(won and (rows or len(changes) == _CHANGES_MAX))


async def told_of_job(
    parts: Parts, job: Job, state: JobState, result: Json, *, is_cancelled: bool = False
) -> Sequence[Row]:
    """The deliveries that tell of the end of a job, to be stored with it."""
    told = telling.of_job(job, state, result, is_cancelled=is_cancelled)
    return () if told is None else await _each_told(parts, job.project, *told)


async def told_of_held(parts: Parts, held: Held) -> Sequence[Row]:
    """The deliveries that tell of an add that is held, to be stored with it."""
    return await _each_told(parts, held.project, *telling.of_held(held))


async def _each_told(
    parts: Parts, project: str, event: str, body: Mapping[str, Json]
) -> Sequence[Row]:
    webhooks = await parts.directory.select(
        Webhook, Where("project", project), Where("is_active", True)
    )
    return [_delivery(parts, one, event, body) for one in webhooks if event in one.event_types]


def _delivery(
    parts: Parts, webhook: Webhook, event: str, body: Mapping[str, Json], no: int | None = None
) -> Delivery:
    now = parts.clock.now()
    return Delivery(
        id=parts.ids.new(),
        project=webhook.project,
        webhook=webhook.id,
        event=event,
        body=body,
        change_no=no,
        run_after=now,
        created_at=now,
    )


def _mine(parts: Parts) -> Where:
    return Where("project", parts.project)


def _one(parts: Parts, webhook_id: str) -> tuple[Where, Where]:
    return Where("id", webhook_id), _mine(parts)
