"""Webhooks: what happens is told once, signed, in order, tried again, and dead-lettered."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.backends.webhook_sender import HttpSender
from holdfast.clock import ManualClock
from holdfast.core.webhooks import EVENT_TYPES, signature
from holdfast.directory import Delivery, Webhook, Where
from holdfast.engine import delete as deleting
from holdfast.engine import update as updating
from holdfast.engine import webhooks as hooking
from holdfast.engine.deliveries import PRUNE_S, Deliveries, serve
from holdfast.engine.parts import Parts
from holdfast.errors import ConflictError, NotFoundError
from holdfast.limits import (
    DEAD_KEPT_S,
    DELIVERED_KEPT_S,
    WEBHOOK_ATTEMPTS_MAX,
    WEBHOOK_BACKOFF_MAX_S,
    WEBHOOK_LEASE_S,
    WEBHOOKS_PER_PROJECT_MAX,
)
from holdfast.model import Project
from holdfast.ports import Reset
from support.embedded import add, of_user, opened
from support.llm_server import LLMServer, Reply, reset
from tests.crash.doomed import ScriptedLLM

ROOT = Path(__file__).parents[2]
OK = Reply(body={})
TIMEOUT_S = 0.4


@pytest.fixture
def receiver() -> Iterator[LLMServer]:
    with LLMServer() as running:
        running.answer_all(OK)
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=time.time())


@pytest.fixture
async def parts(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Parts]:
    async with opened(tmp_path / "holdfast.db", clock=clock) as made:
        yield made


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    made = HttpSender(private=True, timeout_s=TIMEOUT_S)
    yield made
    await made.close()


@pytest.fixture
def deliveries(parts: Parts, sender: HttpSender) -> Deliveries:
    return Deliveries(parts, sender, chance=lambda: 1.0)


async def hook(parts: Parts, url: str, *events: str) -> Webhook:
    return await hooking.create(parts, "mirror", url, events or EVENT_TYPES)


async def drain(*all_: Deliveries) -> None:
    """Send whatever is due now."""
    for _ in range(30):
        for deliveries in all_:
            await deliveries.round()
        await asyncio.gather(*(deliveries.settle() for deliveries in all_))


async def update(parts: Parts, memory_id: str, text: str) -> None:
    await updating.update(parts, updating.UpdateRequest(memory_id=memory_id, text=text))


async def rows(parts: Parts) -> list[Delivery]:
    return await parts.directory.select(Delivery)


async def states(parts: Parts) -> list[str]:
    return [row.state for row in await rows(parts)]


def told(receiver: LLMServer) -> list[tuple[str, Any]]:
    """Events and texts, as they came."""
    details = [body["event_details"] for body in receiver.bodies]
    return [(each["event"], each.get("data", {}).get("memory")) for each in details]


# ------------------------------------------------------------------------- what is told


async def test_changes_are_told_in_order(
    parts: Parts, receiver: LLMServer, deliveries: Deliveries
) -> None:
    await add(parts, "before", "ann")
    await hook(parts, receiver.url)
    [memory_id] = await add(parts, "I like tea", "ann", categories=("food",))
    await update(parts, memory_id, "I like coffee")
    await drain(deliveries)
    assert told(receiver) == [
        ("ADD", "I like tea"),
        ("CATEGORIZE", None),
        ("UPDATE", "I like coffee"),
        ("CATEGORIZE", None),
    ]
    first, categories = (body["event_details"] for body in receiver.bodies[:2])
    assert first == {"id": memory_id, "data": {"memory": "I like tea"}, "event": "ADD"}
    assert categories == {"event": "CATEGORIZE", "memory_id": memory_id, "categories": ["food"]}
    await deleting.delete(parts, memory_id)
    await drain(deliveries)
    assert told(receiver)[4:] == [("DELETE", None)]
    assert set(await states(parts)) == {"DELIVERED"}


async def test_only_what_was_asked_for_is_told(
    parts: Parts, receiver: LLMServer, deliveries: Deliveries
) -> None:
    await hook(parts, receiver.url, "memory_delete")
    [memory_id] = await add(parts, "I like tea", "ann")
    await deleting.delete(parts, memory_id)
    await drain(deliveries)
    assert told(receiver) == [("DELETE", None)]


async def test_another_project_is_told_nothing(
    tmp_path: Path, parts: Parts, receiver: LLMServer, deliveries: Deliveries
) -> None:
    await hook(parts, receiver.url)
    async with opened(tmp_path / "holdfast.db", project=Project("other")) as other:
        await add(other, "a secret", "ann")
    await drain(deliveries)
    assert receiver.requests == []
    assert await parts.directory.count(Delivery) == 0


async def test_every_message_is_signed(
    parts: Parts, receiver: LLMServer, deliveries: Deliveries, clock: ManualClock
) -> None:
    webhook = await hook(parts, receiver.url)
    await add(parts, "I like tea", "ann")
    await drain(deliveries)
    [request] = receiver.requests
    stamp, mac = (part[2:] for part in request.headers["x-holdfast-signature"].split(",", 1))
    signed = f"{stamp}.".encode() + request.raw
    expected = hmac.new(webhook.secret.encode(), signed, hashlib.sha256).hexdigest()
    assert mac == f"={expected}"
    assert int(stamp) == int(clock.now())
    assert request.headers["x-holdfast-delivery"] == (await rows(parts))[0].id


async def test_the_end_of_a_job_is_told(
    tmp_path: Path, receiver: LLMServer, sender: HttpSender
) -> None:
    async with opened(tmp_path / "h.db", llm=ScriptedLLM()) as parts:
        await hook(parts, receiver.url, "ingest_job_completed", "ingest_job_failed")
        said = [{"role": "user", "content": "I am allergic to peanuts."}]
        await add(parts, said, "ann")
        await drain(Deliveries(parts, sender))
    [body] = receiver.bodies
    assert body["event_details"]["event"] == "INGEST_JOB_COMPLETED"
    assert body["event_details"]["status"] == "SUCCEEDED"
    assert body["event_details"]["user_id"] == "ann"


async def test_raw_turns_beside_facts_are_not_told(
    tmp_path: Path, receiver: LLMServer, sender: HttpSender
) -> None:
    async with opened(tmp_path / "h.db", llm=ScriptedLLM()) as parts:
        await hook(parts, receiver.url, "memory_add")
        turns = ("I am allergic to peanuts.", "My sister lives in Oslo.")
        await add(parts, [{"role": "user", "content": turn} for turn in turns], "ann")
        await drain(Deliveries(parts, sender))
    texts = {text for _, text in told(receiver)}
    assert texts == {"Ann is allergic to peanuts.", "Ann's sister lives in Oslo."}


# ------------------------------------------------------------------------- tried again


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(body={}, status=500), "The answer was 500"),
        (Reply(body={}, status=302, headers={"Location": "/v2"}), "redirects are not followed"),
        (reset(), "The connection failed"),
        (Reply(body={}, delay_s=5.0), "no answer within"),
    ],
)
async def test_what_is_not_taken_is_sent_again(
    reply: Reply,
    error: str,
    parts: Parts,
    receiver: LLMServer,
    deliveries: Deliveries,
    clock: ManualClock,
) -> None:
    receiver.answer_all(reply, OK)
    await hook(parts, receiver.url)
    await add(parts, "I like tea", "ann")
    await drain(deliveries)
    [waiting] = await rows(parts)
    assert (waiting.state, waiting.attempts) == ("PENDING", 1)
    assert error in (waiting.error or "")
    assert len(receiver.requests) == 1
    clock.advance(waiting.run_after - clock.now())
    await drain(deliveries)
    [done] = await rows(parts)
    assert (done.state, done.attempts, done.answer, done.error) == ("DELIVERED", 2, 200, None)
    assert done.body == {}
    ids = {request.headers["x-holdfast-delivery"] for request in receiver.requests}
    assert ids == {done.id}


async def test_refused_connections_end_in_the_dead_letters(
    parts: Parts, receiver: LLMServer, deliveries: Deliveries, clock: ManualClock
) -> None:
    with LLMServer() as gone:
        url = gone.url
    webhook = await hook(parts, url)
    await add(parts, "I like tea", "ann")
    pauses = []
    for _ in range(WEBHOOK_ATTEMPTS_MAX):
        await drain(deliveries)
        [row] = await rows(parts)
        pauses.append(row.run_after - clock.now())
        clock.advance(max(0.0, pauses[-1]))
    assert (row.state, row.attempts) == ("FAILED", WEBHOOK_ATTEMPTS_MAX)
    assert "ConnectError" in (row.error or "")
    growing = pauses[:-1]
    assert growing == sorted(growing)
    assert max(growing) <= WEBHOOK_BACKOFF_MAX_S
    assert row.completed_at is not None
    # it is seen, and can be sent again
    request = hooking.WebhookRequest(url=receiver.url)
    await hooking.update(parts, webhook.id, request)
    assert [one.id for one in await hooking.deliveries(parts, webhook.id, "FAILED", 0, 9)] == [
        row.id
    ]
    await hooking.rerun(parts, webhook.id, row.id)
    await drain(deliveries)
    assert told(receiver) == [("ADD", "I like tea")]
    with pytest.raises(ConflictError):
        await hooking.rerun(parts, webhook.id, row.id)
    with pytest.raises(NotFoundError):
        await hooking.rerun(parts, webhook.id, "unknown")


async def test_a_later_event_of_a_memory_waits_for_the_earlier_one(
    parts: Parts, receiver: LLMServer, deliveries: Deliveries, clock: ManualClock
) -> None:
    receiver.answer_all(Reply(body={}, status=503), OK)
    await hook(parts, receiver.url)
    [memory_id] = await add(parts, "one", "ann")
    await drain(deliveries)
    await update(parts, memory_id, "two")
    await add(parts, "another", "ann")
    await drain(deliveries)
    assert told(receiver) == [("ADD", "one"), ("ADD", "another")]
    clock.advance(60)
    await drain(deliveries)
    assert told(receiver)[2:] == [("ADD", "one"), ("UPDATE", "two")]


# ------------------------------------------------------------------------- several at once


async def test_two_processes_send_each_message_once(
    tmp_path: Path, parts: Parts, receiver: LLMServer, deliveries: Deliveries, clock: ManualClock
) -> None:
    await hook(parts, receiver.url)
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(opened(tmp_path / "holdfast.db", clock=clock))
        sender = HttpSender(private=True)
        stack.push_async_callback(sender.close)
        both = (deliveries, Deliveries(other, sender))
        for i in range(10):
            await add(parts, f"memory {i}", "ann")
            await asyncio.gather(*(one.round() for one in both))
        for _ in range(20):
            await asyncio.gather(*(one.round() for one in both))
            await asyncio.gather(*(one.settle() for one in both))
    ids = [request.headers["x-holdfast-delivery"] for request in receiver.requests]
    assert len(ids) == len(set(ids)) == 10
    assert sorted(text for _, text in told(receiver)) == sorted(f"memory {i}" for i in range(10))


async def test_what_was_claimed_and_never_sent_is_sent_later(
    tmp_path: Path, parts: Parts, receiver: LLMServer, deliveries: Deliveries, clock: ManualClock
) -> None:
    await hook(parts, receiver.url)
    await add(parts, "I like tea", "ann")
    code = "import sys; from tests.engine.test_webhooks import die; die(sys.argv[1], sys.argv[2])"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    dead = subprocess.run(  # noqa: ASYNC221 - nothing else is to run meanwhile
        [sys.executable, "-c", code, str(tmp_path / "holdfast.db"), str(clock.now())],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert dead.returncode == 3, dead.stderr
    [claimed] = await rows(parts)
    assert (claimed.state, claimed.attempts) == ("PENDING", 1)
    await drain(deliveries)
    assert receiver.requests == []
    clock.advance(WEBHOOK_LEASE_S)
    await drain(deliveries)
    assert told(receiver) == [("ADD", "I like tea")]


def die(path: str, now: str) -> None:
    """A process that dies between the claim of a message and its sending."""

    class Deadly:
        async def send(self, *_: object) -> Any:
            os._exit(3)

        async def close(self) -> None:
            """Nothing to release."""

    async def live() -> None:
        async with opened(Path(path), clock=ManualClock(float(now))) as parts:
            await drain(Deliveries(parts, Deadly()))

    asyncio.run(live())


async def test_it_serves_until_cancelled(
    parts: Parts, receiver: LLMServer, sender: HttpSender
) -> None:
    await hook(parts, receiver.url)
    task = asyncio.create_task(serve(parts, sender))
    await add(parts, "I like tea", "ann")
    await asyncio.to_thread(receiver.wait_for_requests, 1)
    receiver.answer_all(Reply(body={}, delay_s=0.2))
    await add(parts, "I like coffee", "ann")
    await asyncio.to_thread(receiver.wait_for_requests, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await states(parts) == ["DELIVERED", "DELIVERED"]


# ------------------------------------------------------------------------- what is kept


@pytest.mark.parametrize("everything", [True, False])
async def test_nothing_said_is_left_of_what_is_deleted(
    everything: bool,
    parts: Parts,
    receiver: LLMServer,
    deliveries: Deliveries,
    clock: ManualClock,
) -> None:
    receiver.answer_all(Reply(body={}, status=500), OK)
    await hook(parts, receiver.url)
    [memory_id] = await add(parts, "a secret of ann's", "ann")
    await drain(deliveries)
    if everything:
        await deleting.delete_all(parts, of_user("ann"))
    else:
        await deleting.delete(parts, memory_id)
    assert all("secret" not in repr(row.body) for row in await rows(parts))
    clock.advance(60)
    await drain(deliveries)
    assert told(receiver)[1:] == [("ADD", None), ("DELETE", None)]


async def test_old_messages_go(parts: Parts, deliveries: Deliveries, clock: ManualClock) -> None:
    webhook = await hook(parts, "http://127.0.0.1:9/")
    row = Delivery(
        id="", project=webhook.project, webhook=webhook.id, event="memory_add", body={},
        run_after=0.0, created_at=0.0, completed_at=clock.now(),
    )  # fmt: skip
    for id_, state in (("a", "DELIVERED"), ("b", "FAILED")):
        await parts.directory.insert(replace(row, id=id_, state=state))
    await deliveries.round()
    assert len(await rows(parts)) == 2
    clock.advance(DELIVERED_KEPT_S + PRUNE_S)
    await deliveries.round()
    assert await states(parts) == ["FAILED"]
    clock.advance(DEAD_KEPT_S)
    await deliveries.round()
    assert await rows(parts) == []


async def test_a_webhook_goes_with_what_waits_for_it(
    parts: Parts, receiver: LLMServer, deliveries: Deliveries
) -> None:
    receiver.answer_all(Reply(body={}, status=500))
    webhook = await hook(parts, receiver.url)
    await add(parts, "I like tea", "ann")
    await drain(deliveries)
    await hooking.delete(parts, webhook.id)
    assert await rows(parts) == []
    with pytest.raises(NotFoundError):
        await hooking.delete(parts, webhook.id)


async def test_after_a_reset_nothing_is_missed(
    parts: Parts, receiver: LLMServer, deliveries: Deliveries
) -> None:
    webhook = await hook(parts, receiver.url)
    for i in range(5):
        await add(parts, f"before {i}", "ann")
    [behind] = await parts.directory.select(Webhook, Where("id", webhook.id))
    await drain(deliveries)
    await parts.records.commit(parts.project, [Reset()])
    await add(parts, "after", "ann")
    await drain(deliveries)
    assert told(receiver)[-1] == ("ADD", "after")
    # one who read before the reset, and comes to write after it
    assert not await hooking.feed(parts, [behind])


async def test_many_changes_of_others_hold_nobody_up(
    tmp_path: Path, parts: Parts, receiver: LLMServer, deliveries: Deliveries
) -> None:
    webhook = await hook(parts, receiver.url)
    async with opened(tmp_path / "holdfast.db", project=Project("other")) as other:
        for i in range(6):
            said = [{"role": "user", "content": f"{i} {j}"} for j in range(100)]
            await add(other, said, "bob")
    assert await hooking.feed(parts, [webhook]), "there is more than one reading of changes"
    await add(parts, "I like tea", "ann")
    await drain(deliveries)
    assert told(receiver) == [("ADD", "I like tea")]


async def test_one_that_is_off_is_told_nothing(
    parts: Parts, receiver: LLMServer, deliveries: Deliveries
) -> None:
    webhook = await hook(parts, receiver.url)
    await hooking.update(parts, webhook.id, hooking.WebhookRequest(is_active=False))
    await add(parts, "meanwhile", "ann")
    await drain(deliveries)
    await hooking.update(parts, webhook.id, hooking.WebhookRequest(is_active=True))
    await add(parts, "later", "ann")
    await drain(deliveries)
    assert told(receiver) == [("ADD", "later")]


async def test_there_are_not_too_many(parts: Parts) -> None:
    for _ in range(WEBHOOKS_PER_PROJECT_MAX):
        await hook(parts, "https://example.com/")
    with pytest.raises(ConflictError):
        await hook(parts, "https://example.com/")


async def test_a_secret_is_not_shown(parts: Parts) -> None:
    webhook = await hook(parts, "https://example.com/")
    assert webhook.secret not in repr(webhook)


async def test_for_a_while_the_old_secret_signs_too(
    parts: Parts, receiver: LLMServer, deliveries: Deliveries, clock: ManualClock
) -> None:
    made = await hook(parts, receiver.url)
    changed = await hooking.rotate(parts, made.id, 60.0)
    assert changed.secret != made.secret
    for text, secrets in (("one", [changed.secret, made.secret]), ("two", [changed.secret])):
        await add(parts, text, "ann")
        await drain(deliveries)
        request = receiver.requests[-1]
        header = request.headers["x-holdfast-signature"]
        stamp = int(header.partition(",")[0].removeprefix("t="))
        assert header == signature(secrets[0], stamp, request.raw, *secrets[1:])
        clock.advance(60.0)


async def test_without_grace_the_old_secret_signs_no_more(parts: Parts) -> None:
    made = await hook(parts, "http://example.com/")
    await hooking.rotate(parts, made.id, 60.0)
    await hooking.rotate(parts, made.id, 0.0)
    [kept] = await hooking.listed(parts)
    assert (kept.old_secret, kept.old_secret_until) == (None, None)
    with pytest.raises(NotFoundError):
        await hooking.rotate(parts, "unknown", 0.0)
