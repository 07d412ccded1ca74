"""What stands before a dependency: breaker, bounded queue, and the time its caller has left."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import holdfast
from holdfast import deadline
from holdfast.core.breaker import BreakerBounds
from holdfast.errors import (
    BadAnswerError,
    ConfigError,
    HoldfastError,
    IndexUnavailableError,
    ModelRefusedError,
    ModelUnavailableError,
    ValidationError,
)
from holdfast.limits import DEADLINE_SHARE
from holdfast.metrics import Metrics
from holdfast.model import DEFAULT_PROJECT, Entity, Space
from holdfast.ports import Match, Point, TermMatches
from holdfast.wrap.bounded_vectors import VECTORS_BOUNDS, BoundedVectors, index_gate
from holdfast.wrap.gate import Bounds, Gate

AWAY = ModelUnavailableError("away")
TOUCHY = BreakerBounds(failures_in_row=2, pause_s=0.05)


class Dependency:
    """Does what it is told: an error to raise, seconds to take, or nothing."""

    def __init__(self, *script: HoldfastError | float | None) -> None:
        self.script = list(script)
        self.asked: list[float] = []
        self.running = self.busiest = 0

    async def __call__(self, left_s: float) -> str:
        self.asked.append(left_s)
        self.running += 1
        self.busiest = max(self.busiest, self.running)
        try:
            step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            await asyncio.sleep(step if isinstance(step, float) else 0)
        finally:
            self.running -= 1
        if isinstance(step, HoldfastError):
            raise step
        return "answer"


def gate(noted: list[str] | None = None, **bounds: Any) -> Gate:
    usual = {"tries_max": 1, "breaker": TOUCHY}
    events = [] if noted is None else noted
    return Gate(Bounds(**{**usual, **bounds}), noted=events.append)


async def fails(before: Gate, what: Dependency, timeout_s: float = 60.0) -> ModelUnavailableError:
    with pytest.raises(ModelUnavailableError) as caught:
        await before.run("it", timeout_s, what)
    return caught.value


# ----------------------------------------------------------------------------- the breaker


async def test_what_fails_again_and_again_is_not_asked_and_the_error_says_how_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    noted: list[str] = []
    before, it = (
        gate(noted, breaker=BreakerBounds(failures_in_row=2, pause_s=7.0)),
        Dependency(AWAY),
    )
    for _ in range(5):
        error = await fails(before, it)
    assert len(it.asked) == 2
    assert error.retry_after_s == pytest.approx(7.0, abs=1)
    assert not error.tried
    assert noted == ["open", "held_back", "held_back", "held_back"]
    assert [one.getMessage() for one in caplog.records] == ["it failed too often and is left alone"]


async def test_after_its_pause_one_call_probes_and_the_others_are_not_let_through() -> None:
    noted: list[str] = []
    before, it = gate(noted), Dependency(AWAY, AWAY, 0.02)
    for _ in range(2):
        await fails(before, it)
    await asyncio.sleep(0.06)
    calls = [before.run("it", 60.0, it) for _ in range(5)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [one for one in results if one == "answer"] == ["answer"]
    assert len(it.asked) == 3
    assert await before.run("it", 60.0, it) == "answer"
    assert (noted[0], noted[-1]) == ("open", "closed")


@pytest.mark.parametrize("error", [ModelRefusedError("no"), BadAnswerError("odd")])
async def test_who_answers_is_there_whatever_the_answer(error: HoldfastError) -> None:
    before, it = gate(), Dependency(error)
    for _ in range(9):
        with pytest.raises(type(error)):
            await before.run("it", 60.0, it)
    assert len(it.asked) == 9


async def test_a_provider_that_limits_the_rate_is_there() -> None:
    limited = ModelUnavailableError("limit").because("rate_limited")
    before, it = gate(), Dependency(limited)
    for _ in range(9):
        await fails(before, it)
    assert len(it.asked) == 9


async def test_a_call_ends_its_tries_when_the_breaker_opens() -> None:
    before, it = gate(tries_max=9, backoff_s=0.0), Dependency(AWAY)
    error = await fails(before, it)
    assert len(it.asked) == 2
    assert error.retry_after_s == pytest.approx(0.05, abs=0.05)


async def test_slowness_opens_it_too_but_not_when_the_caller_gave_it_no_time() -> None:
    before, it = gate(patience_s=0.05), Dependency(60.0)
    for _ in range(5):
        error = await fails(before, it, 0.02)
        assert (error.reason, error.tried) == ("timeout", False)
    assert len(it.asked) == 5, "an impatient caller closes nothing to others"
    for _ in range(5):
        error = await fails(before, it, 0.08)
    assert len(it.asked) == 7


async def test_a_library_that_ends_the_call_itself_is_no_different() -> None:
    """Libraries of providers are told the time as well, and may be the first to end."""
    asked = 0

    async def it(left_s: float) -> str:
        nonlocal asked
        asked += 1
        await asyncio.sleep(left_s - 0.005)
        raise ModelUnavailableError("no answer in time").because("timeout")

    before, tried = gate(patience_s=0.08), []
    for timeout_s in (0.05, 0.05, 0.05, 0.1, 0.1, 0.1):
        with pytest.raises(ModelUnavailableError) as caught:
            await before.run("it", timeout_s, it)
        tried.append(caught.value.tried)
    assert tried == [False, False, False, True, True, False]
    assert asked == 5, "the breaker is open"


async def test_a_cancelled_call_says_nothing_and_leaves_its_place() -> None:
    before, it = gate(concurrency_max=1), Dependency(AWAY, 60.0)
    await fails(before, it)
    for _ in range(3):
        call = asyncio.create_task(before.run("it", 60.0, it))
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    it.script = [None]
    assert await before.run("it", 60.0, it) == "answer"


# ----------------------------------------------------------------------------- the queue


async def test_beyond_the_queue_calls_fail_at_once_and_those_in_it_are_served() -> None:
    noted: list[str] = []
    before, it = gate(noted, concurrency_max=2, queue_max=3), Dependency(0.05)
    calls = [asyncio.create_task(before.run("it", 60.0, it)) for _ in range(5)]
    await asyncio.sleep(0.01)
    began = time.monotonic()
    error = await fails(before, it)
    assert time.monotonic() - began < 0.03
    assert (error.tried, error.retry_after_s) == (False, 1.0)
    assert await asyncio.gather(*calls) == ["answer"] * 5
    assert (it.busiest, noted) == (2, ["full"])
    assert await before.run("it", 60.0, it) == "answer", "the places are free again"


async def test_a_full_queue_says_nothing_of_the_dependency() -> None:
    before, it = gate(concurrency_max=1, queue_max=1), Dependency(0.02)
    calls = [asyncio.create_task(before.run("it", 60.0, it)) for _ in range(20)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results.count("answer") == 2
    assert await before.run("it", 60.0, it) == "answer"


# ----------------------------------------------------------------------------- the time left


async def test_a_call_is_told_at_most_its_share_of_what_its_caller_has_left() -> None:
    before, it = gate(), Dependency(None)
    with holdfast.time_limit(2.0):
        await before.run("it", 60.0, it)
        await before.run("it", 0.5, it)
    await before.run("it", 60.0, it)
    assert it.asked[0] == pytest.approx(2.0 * DEADLINE_SHARE, abs=0.1)
    assert it.asked[0] <= 2.0 * DEADLINE_SHARE
    assert it.asked[1] <= 0.5
    assert it.asked[2] > 59, "the limit ended with its block"


async def test_what_takes_longer_ends_with_time_to_spare() -> None:
    before, it = gate(), Dependency(60.0)
    with holdfast.time_limit(1.0):
        await fails(before, it)
        assert deadline.left_s() > 0


async def test_without_time_nothing_is_asked() -> None:
    before, it = gate(), Dependency(None)
    with holdfast.time_limit(0.001):
        await asyncio.sleep(0.01)
        error = await fails(before, it)
    assert (it.asked, error.tried) == ([], False)


async def test_a_limit_within_a_limit_never_lengthens_it_and_tasks_inherit_it() -> None:
    async def left() -> float:
        return deadline.left_s()

    with holdfast.time_limit(1.0), holdfast.time_limit(50.0):
        assert await asyncio.create_task(left()) <= 1.0
        with deadline.unlimited():
            assert await asyncio.create_task(left()) == float("inf")
    assert deadline.left_s() == float("inf")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "1", True, None])
def test_a_limit_is_a_number_above_0(seconds: Any) -> None:
    with pytest.raises(ValidationError), holdfast.time_limit(seconds):
        pass


# ----------------------------------------------------------------------------- a vector database

RED = DEFAULT_PROJECT
ANN = Entity(kind="user", id="ann")
SPACE = Space(provider="tests", model="m", dimensions=2)


class ScriptedVectors:
    """A vector database all of whose calls go through one dependency."""

    name = "double"
    settles_s = 1.5

    def __init__(self, it: Dependency) -> None:
        self._it = it
        self.said: list[str] = []

    async def _do(self, what: str) -> None:
        self.said.append(what)
        await self._it(0.0)

    async def open(self, space: Space) -> None:
        await self._do("open")

    async def put(self, project: Any, points: Any) -> None:
        await self._do("put")

    async def remove(self, project: Any, ids: Any) -> None:
        await self._do("remove")

    async def nearest(self, project: Any, entity: Any, vector: Any, limit: int) -> list[Match]:
        await self._do("nearest")
        return [Match(id="a", score=1.0)]

    async def holders(self, project: Any, entity: Any, terms: Any, limit: int) -> list[TermMatches]:
        await self._do("holders")
        return [TermMatches(matches=())]

    async def marks(
        self, project: Any, after: Any, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        await self._do("marks")
        return [("a", 1)], None

    async def count(self, project: Any) -> int:
        await self._do("count")
        return 1

    async def clear(self, project: Any) -> None:
        await self._do("clear")

    async def close(self) -> None:
        self.said.append("close")


POINT = Point(id="a", entities=(ANN,), vector=None, terms=b"", mark=1)


def bounded(
    inner: ScriptedVectors, metrics: Metrics | None = None, bounds: Bounds = VECTORS_BOUNDS
) -> BoundedVectors:
    return BoundedVectors(inner, index_gate(metrics or Metrics(), bounds), bounds)


Calls = dict[str, Callable[[BoundedVectors], Awaitable[object]]]
CALLS: Calls = {
    "open": lambda vectors: vectors.open(SPACE),
    "put": lambda vectors: vectors.put(RED, [POINT]),
    "remove": lambda vectors: vectors.remove(RED, ["a"]),
    "nearest": lambda vectors: vectors.nearest(RED, ANN, None, 1),  # type: ignore[arg-type]
    "holders": lambda vectors: vectors.holders(RED, ANN, [[1]], 1),
    "marks": lambda vectors: vectors.marks(RED, None, 1),
    "count": lambda vectors: vectors.count(None),
    "clear": lambda vectors: vectors.clear(RED),
}  # fmt: skip
GONE = IndexUnavailableError("gone", retry_after_s=0.01)


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_of_an_index_is_tried_again_and_passes_its_answer_on(name: str) -> None:
    plain = ScriptedVectors(Dependency(None))
    expected = await CALLS[name](plain)  # type: ignore[arg-type]
    inner = ScriptedVectors(Dependency(GONE, GONE, None))
    vectors = bounded(inner)
    assert await CALLS[name](vectors) == expected
    assert inner.said == [name] * 3
    assert (vectors.name, vectors.settles_s) == ("double", 1.5)
    await vectors.close()
    assert inner.said[-1] == "close"


async def test_every_call_is_known_here() -> None:
    calls = {name for name in vars(BoundedVectors) if not name.startswith("_")}
    assert calls == {*CALLS, "close", "optimize", "optimizing"}


class Graph(ScriptedVectors):
    """One that has something to make."""

    async def optimize(self, told: Any = None) -> None:
        await self._do("optimize")

    async def optimizing(self) -> int | None:
        await self._do("optimizing")
        return 7


async def test_what_is_made_later_is_looked_at_again_and_begun_once() -> None:
    inner = Graph(Dependency(GONE, None, GONE))
    vectors = bounded(inner)
    assert await vectors.optimizing() == 7
    with pytest.raises(IndexUnavailableError):  # whoever feeds it begins anew
        await vectors.optimize()
    assert inner.said == ["optimizing", "optimizing", "optimize"]
    plain = bounded(ScriptedVectors(Dependency(None)))
    assert await plain.optimizing() is None
    await plain.optimize()


async def test_an_index_that_is_away_is_left_alone_and_says_when_to_come_again() -> None:
    inner = ScriptedVectors(Dependency(IndexUnavailableError("gone")))
    metrics = Metrics()
    vectors = bounded(inner, metrics)
    for _ in range(6):
        with pytest.raises(IndexUnavailableError) as caught:
            await CALLS["nearest"](vectors)
    assert len(inner.said) == 5
    assert caught.value.retry_after_s == pytest.approx(1.0, abs=0.5)
    counts = metrics.counts()
    assert counts["index_call", ("failed",)] == 6
    assert counts["call_event", ("index", "retry")] == 3
    assert counts["call_event", ("index", "held_back")] == 4
    assert metrics.sight("index").error_code == "INDEX_UNAVAILABLE"


async def test_an_index_that_refuses_is_not_asked_again() -> None:
    inner = ScriptedVectors(Dependency(ConfigError("wrong credentials")))
    with pytest.raises(ConfigError):
        await CALLS["put"](bounded(inner))
    assert inner.said == ["put"]


async def test_one_question_that_hangs_is_asked_again_within_its_time() -> None:
    bounds = Bounds(timeout_s=0.3, tries_max=3, backoff_s=0.0, patience_s=0.1)
    inner = ScriptedVectors(Dependency(60.0, None))
    vectors = bounded(inner, bounds=bounds)
    assert await CALLS["nearest"](vectors) == [Match(id="a", score=1.0)]
    assert inner.said == ["nearest"] * 2


async def test_an_index_has_no_more_time_than_its_caller() -> None:
    inner = ScriptedVectors(Dependency(60.0))
    began = time.monotonic()
    with holdfast.time_limit(0.2), pytest.raises(IndexUnavailableError):
        await CALLS["holders"](bounded(inner))
    assert time.monotonic() - began < VECTORS_BOUNDS.timeout_s / 3


def test_logs_say_nothing_but_the_name(caplog: pytest.LogCaptureFixture) -> None:
    secret = ModelUnavailableError("sk-secret")

    async def fail() -> None:
        before, it = gate(), Dependency(secret)
        for _ in range(3):
            await fails(before, it)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(fail())
    assert "secret" not in caplog.text
    assert "it failed too often" in caplog.text


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("nearest", [Match(id="a", score=float("nan"))]),
        ("nearest", [Match(id="a", score=float("inf"))]),
        ("holders", [TermMatches(matches=(), rows=-1)]),
        ("holders", []),
        ("holders", [TermMatches(matches=())] * 2),
    ],
)
async def test_an_index_that_answers_garbage_is_as_good_as_away(
    call: str, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def garbage(*_: Any) -> Any:
        return answer

    inner = ScriptedVectors(Dependency(None))
    monkeypatch.setattr(inner, call, garbage)
    with pytest.raises(IndexUnavailableError, match="no sense"):
        await CALLS[call](bounded(inner))
