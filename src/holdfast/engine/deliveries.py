"""Deliveries: what waits for webhooks is sent, tried again, and dead-lettered with a reason.

A message is claimed before it is sent, by one process only; one whose sender died is sent again
when the claim runs out. So each is sent at least once, and twice only after a death. Messages about
one memory go out in order: none before an earlier one was taken or given up.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from holdfast.core import webhooks as telling
from holdfast.directory import Delivery, Webhook, Where
from holdfast.engine.parts import Parts
from holdfast.engine.webhooks import feed
from holdfast.errors import ClosedError, HoldfastError
from holdfast.limits import (
    DEAD_KEPT_S,
    DELIVERED_KEPT_S,
    WEBHOOK_ATTEMPTS_MAX,
    WEBHOOK_LEASE_S,
    WEBHOOK_SENDS_EACH_MAX,
    WEBHOOK_SENDS_MAX,
)
from holdfast.model import Json, Project
from holdfast.ports import Sender, Sent

POLL_S = 1.0
"""Longest pause before looking for changes that were made meanwhile."""

PRUNE_S = 3_600.0
"""How often what is kept long enough is taken away, in seconds."""

_WINDOW = 64
"""Messages to one webhook looked at: as long as they wait, later ones do too."""

_GRACE_S = 2.0
"""Seconds for what is being sent when told to stop."""

_log = logging.getLogger("holdfast.webhooks")


async def serve(parts: Parts, sender: Sender) -> None:
    """Tell the webhooks of all projects what happens, until cancelled.

    That it cannot go on is said once, and when it goes on again.
    """
    deliveries = Deliveries(parts, sender)
    is_held_up = False
    try:
        while True:
            try:
                await deliveries.round()
            except ClosedError:
                return  # the store is gone before its user
            except HoldfastError as error:
                if not is_held_up:
                    told = "webhooks cannot be told anything, it is tried again: %s (%s)"
                    _log.error(told, error.code, type(error).__name__)
                is_held_up = True
            else:
                if is_held_up:
                    _log.warning("webhooks are told again")
                is_held_up = False
            await deliveries.pause(POLL_S)
    finally:
        await deliveries.stop()


class Deliveries:
    """Sends what is due, several messages at once, bounded in all and for each webhook."""

    def __init__(
        self, parts: Parts, sender: Sender, chance: Callable[[], float] = random.random
    ) -> None:
        """`chance`: draws the jitter, 0..1."""
        self._parts = parts
        self._sender = sender
        self._chance = chance
        self._sending: dict[str, tuple[str, asyncio.Task[None]]] = {}
        """Tasks by the ids of their deliveries, with the webhook's."""
        self._wake = asyncio.Event()
        self._pruned_at = parts.clock.now()

    async def round(self) -> None:
        """Make deliveries of what happened, and begin to send what is due."""
        self._wake.clear()
        webhooks = await self._parts.directory.select(Webhook, Where("is_active", True))
        if await feed(self._parts, webhooks):
            self._wake.set()
        if await self._is_any_due():
            for webhook in webhooks:
                await self._begin(webhook)
        if self._parts.clock.now() - self._pruned_at >= PRUNE_S:
            await self._prune()

    async def pause(self, seconds: float) -> None:
        """Wait until there is more to do, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for may lose a cancellation
                await self._wake.wait()

    async def settle(self) -> None:
        """Wait for what is being sent."""
        while self._sending:
            await asyncio.wait([task for _, task in self._sending.values()])

    async def stop(self) -> None:
        """Let what is being sent end soon, or else leave it to others."""
        tasks = [task for _, task in self._sending.values()]
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=_GRACE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _is_any_due(self) -> bool:
        now = self._parts.clock.now()
        due = (Where("state", "PENDING"), Where("run_after", now, "lte"))
        return bool(await self._parts.directory.select(Delivery, *due, order="run_after", size=1))

    async def _begin(self, webhook: Webhook) -> None:
        """Begin to send what is due to one webhook, as far as there is room."""
        waiting = await self._parts.directory.select(
            Delivery, Where("webhook", webhook.id), Where("state", "PENDING"), size=_WINDOW
        )
        room = min(
            WEBHOOK_SENDS_EACH_MAX - sum(to == webhook.id for to, _ in self._sending.values()),
            WEBHOOK_SENDS_MAX - len(self._sending),
        )
        now = self._parts.clock.now()
        ready = [one for one in _heads(waiting) if one.run_after <= now]
        for delivery in [one for one in ready if one.id not in self._sending][: max(0, room)]:
            task = asyncio.create_task(self._deliver(webhook, delivery))
            self._sending[delivery.id] = (webhook.id, task)
            task.add_done_callback(partial(self._ended, delivery.id))

    def _ended(self, delivery_id: str, _task: object) -> None:
        _, task = self._sending.pop(delivery_id)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("webhooks: a delivery failed (%s)", type(error).__name__)

    async def _deliver(self, webhook: Webhook, delivery: Delivery) -> None:
        """Claim, send, and say what came of it."""
        parts, now = self._parts, self._parts.clock.now()
        attempts = delivery.attempts + 1
        unchanged = (
            Where("id", delivery.id),
            Where("state", "PENDING"),
            Where("attempts", delivery.attempts),
            Where("run_after", delivery.run_after),
        )
        claim: dict[str, Json] = {"attempts": attempts, "run_after": now + WEBHOOK_LEASE_S}
        if not await parts.directory.update(Delivery, *unchanged, values=claim):
            return  # somebody else sends it
        body = msgspec.json.encode(await _body(parts, delivery))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Holdfast",
            telling.DELIVERY_HEADER: delivery.id,
            telling.SIGNATURE_HEADER: _signature(webhook, now, body),
        }
        sent = await self._sender.send(webhook.url, body, headers)
        mine = (*unchanged[:2], Where("attempts", attempts))
        values = self._outcome(sent, attempts)
        await parts.directory.update(Delivery, *mine, values=values)

    def _outcome(self, sent: Sent, attempts: int) -> dict[str, Json]:
        now = self._parts.clock.now()
        told: dict[str, Json] = {"answer": sent.status, "error": sent.error}
        if sent.error is None:
            return {**told, "state": "DELIVERED", "body": {}, "completed_at": now}
        if sent.final or attempts >= WEBHOOK_ATTEMPTS_MAX:
            _log.warning("webhooks: dead-lettered after %d tries", attempts)
            return {**told, "state": "FAILED", "completed_at": now}
        return {**told, "run_after": now + telling.pause_s(attempts, self._chance())}

    async def _prune(self) -> None:
        """Take away what was kept long enough."""
        self._pruned_at = now = self._parts.clock.now()
        for state, kept_s in (("DELIVERED", DELIVERED_KEPT_S), ("FAILED", DEAD_KEPT_S)):
            old = (Where("state", state), Where("completed_at", now - kept_s, "lte"))
            await self._parts.directory.delete(Delivery, *old)


def _signature(webhook: Webhook, now: float, body: bytes) -> str:
    """With the secret, and with the one before it while that is good."""
    until = webhook.old_secret_until
    old = webhook.old_secret if until is not None and now < until else None
    return telling.signature(webhook.secret, now, body, *([] if old is None else [old]))


def _heads(waiting: Sequence[Delivery]) -> list[Delivery]:
    """Of the messages about one memory only the first, in the order of changes."""
    found: dict[str, Delivery] = {}
    for delivery in sorted(waiting, key=lambda one: (one.change_no or 2**63, one.id)):
        found.setdefault(telling.subject(delivery.body) or delivery.id, delivery)
    return list(found.values())


async def _body(parts: Parts, delivery: Delivery) -> dict[str, Json]:
    """What is sent: with the memory's text as of then, unless it is deleted by now."""
    no, memory_id = delivery.change_no, telling.subject(delivery.body)
    text = None
    if no is not None and memory_id is not None:
        told = await parts.directory.changes(no - 1, 1)
        there = await parts.records.fetch(Project(delivery.project), [memory_id])
        if told and told[0].no == no and there:
            text = told[0].text
    return telling.with_text(delivery.body, text)
