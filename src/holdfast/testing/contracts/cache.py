"""The contract of `ports.Cache`, sentence by sentence, for one that answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from holdfast.errors import CacheUnavailableError
from holdfast.ports import Cache, Claim
from holdfast.testing.hostile import STORABLE

KEYS = (
    "",
    " ",
    "a",
    "A",
    "a:b",
    "}{",
    "{a}",
    "}",
    "*",
    "a*",
    "[ab]",
    "a\nb\r\nFLUSHALL\r\n",
    "../..",
    "\x00",
    "é",
    "e\u0301",
    "\ud800",
    "k" * 100_000,
    "k" * 100_001,
    *STORABLE,
)
"""Keys that a careless cache confuses, splits, or takes for commands."""

VALUES = (b"", b"\x00", b"\r\n", b"$-1\r\n", b"value", bytes(range(256)) * 400)

Another = Callable[[], Awaitable[Cache]]
"""Makes another cache on the same data, as another process would have it."""
Pass = Callable[[float], Awaitable[None]]
"""Lets so many seconds go by."""


class CacheContract:
    """Override the fixtures `another` and `passes`; run it with pytest-asyncio in auto mode."""

    @pytest.fixture
    def another(self) -> Another:
        """A function that makes an open cache; all it makes are of one deployment."""
        return pytest.fail("override the fixture `another` with one that makes your cache")

    @pytest.fixture
    def passes(self) -> Pass:
        """A function that lets time go by for the cache."""
        return asyncio.sleep

    @pytest.fixture
    async def cache(self, another: Another) -> AsyncIterator[Cache]:
        """An open cache that holds nothing."""
        made = await another()
        yield made
        await made.close()

    async def test_each_key_has_its_value_or_none(self, cache: Cache) -> None:
        assert await cache.get(["a", "b"]) == [None, None]
        await cache.put({"a": b"1", "c": b"3"}, 60)
        assert await cache.get(["c", "b", "a", "c"]) == [b"3", None, b"1", b"3"]
        assert await cache.get([]) == []
        await cache.put({}, 60)

    async def test_a_value_takes_the_place_of_an_earlier_one(self, cache: Cache) -> None:
        await cache.put({"a": b"1"}, 60)
        await cache.put({"a": b"2"}, 60)
        assert await cache.get(["a"]) == [b"2"]

    async def test_any_text_is_a_key_of_its_own(self, cache: Cache) -> None:
        keys = list(dict.fromkeys(KEYS))
        for number, key in enumerate(keys):
            await cache.put({key: str(number).encode()}, 60)
        values = [str(number).encode() for number in range(len(keys))]
        assert await cache.get(keys) == values
        assert [(await cache.get([key]))[0] for key in keys] == values

    async def test_what_was_put_is_given_back_whole(self, cache: Cache) -> None:
        for value in VALUES:
            await cache.put({"a": value}, 60)
            assert await cache.get(["a"]) == [value]

    async def test_a_value_is_there_for_its_time_only(self, cache: Cache, passes: Pass) -> None:
        await cache.put({"short": b"1"}, 0.2)
        await cache.put({"long": b"2"}, 60)
        assert await cache.get(["short", "long"]) == [b"1", b"2"]
        await passes(0.3)
        assert await cache.get(["short", "long"]) == [None, b"2"]

    async def test_putting_again_begins_its_time_anew(self, cache: Cache, passes: Pass) -> None:
        await cache.put({"a": b"1"}, 0.2)
        await cache.put({"a": b"1"}, 60)
        await passes(0.3)
        assert await cache.get(["a"]) == [b"1"]

    async def test_what_is_dropped_is_forgotten(self, cache: Cache) -> None:
        await cache.put({"a": b"1", "b": b"2"}, 60)
        await cache.drop(["a", "never there"])
        await cache.drop([])
        assert await cache.get(["a", "b"]) == [None, b"2"]

    async def test_others_see_what_is_put_if_it_is_shared(
        self, cache: Cache, another: Another
    ) -> None:
        other = await another()
        await cache.put({"a": b"1"}, 60)
        assert await other.get(["a"]) == [b"1" if cache.shared else None]
        await other.close()
        assert await cache.get(["a"]) == [b"1"], "closing one takes nothing from others"

    async def test_the_first_who_claims_a_key_makes_it(self, cache: Cache) -> None:
        assert await cache.claim("a", "one", 60) == Claim(mine=True)
        assert await cache.claim("a", "two", 60) == Claim(mine=False)
        assert await cache.claim("a", "one", 60) == Claim(mine=True), "still theirs"
        assert await cache.claim("b", "two", 60) == Claim(mine=True), "another key"
        assert await cache.get(["a"]) == [None], "a claim is no value"

    async def test_one_of_many_claims(self, cache: Cache) -> None:
        claims = await asyncio.gather(*(cache.claim("a", f"{n}", 60) for n in range(20)))
        assert sum(claim.mine for claim in claims) == 1

    async def test_a_claim_gives_the_value_that_is_there(self, cache: Cache) -> None:
        await cache.claim("a", "one", 60)
        await cache.put({"a": b"1"}, 60)
        for owner in ("one", "two"):
            assert await cache.claim("a", owner, 60) == Claim(value=b"1")

    async def test_a_claim_ends_with_its_time(self, cache: Cache, passes: Pass) -> None:
        await cache.claim("a", "one", 0.2)
        await passes(0.3)
        assert await cache.claim("a", "two", 60) == Claim(mine=True)

    async def test_a_claim_ends_when_the_key_is_dropped(self, cache: Cache) -> None:
        await cache.claim("a", "one", 60)
        await cache.drop(["a"])
        assert await cache.claim("a", "two", 60) == Claim(mine=True)

    async def test_a_bucket_gives_what_is_in_it(self, cache: Cache) -> None:
        assert [await cache.take("a", 1, 0.01, 3) for _ in range(3)] == [0.0] * 3
        wait = await cache.take("a", 1, 0.01, 3)
        assert 90 < wait <= 100, "one in a hundred seconds"
        assert await cache.take("b", 1, 0.01, 3) == 0.0, "another bucket"

    async def test_refused_takes_take_nothing(self, cache: Cache) -> None:
        assert await cache.take("a", 2, 0.01, 3) == 0.0
        for _ in range(5):
            assert 90 < await cache.take("a", 2, 0.01, 3) <= 100
        assert await cache.take("a", 1, 0.01, 3) == 0.0

    async def test_a_bucket_fills_up_to_its_brim(self, cache: Cache, passes: Pass) -> None:
        assert await cache.take("a", 2, 10, 2) == 0.0
        assert 0 < await cache.take("a", 2, 10, 2) <= 0.2
        await passes(0.5)  # five, but only two fit
        assert await cache.take("a", 2, 10, 2) == 0.0
        assert 0 < await cache.take("a", 1, 10, 2) <= 0.1

    async def test_more_than_the_brim_is_a_debt(self, cache: Cache) -> None:
        assert await cache.take("a", 5, 0.01, 2) == 0.0
        assert 390 < await cache.take("a", 1, 0.01, 2) <= 400, "three owed, one wanted"
        assert 490 < await cache.take("a", 7, 0.01, 2) <= 500, "a full bucket is enough"

    async def test_a_negative_amount_gives_back(self, cache: Cache) -> None:
        assert await cache.take("a", 3, 0.01, 3) == 0.0
        assert await cache.take("a", -2, 0.01, 3) == 0.0
        assert await cache.take("a", 2, 0.01, 3) == 0.0
        assert await cache.take("a", -50, 0.01, 3) == 0.0
        assert await cache.take("a", 3, 0.01, 3) == 0.0
        assert await cache.take("a", 1, 0.01, 3) > 0.0, "never above the brim"

    async def test_many_take_no_more_than_there_is(self, cache: Cache, another: Another) -> None:
        others = [cache, await another()] if cache.shared else [cache, cache]
        waits = await asyncio.gather(*(others[n % 2].take("a", 1, 0.001, 7) for n in range(20)))
        assert sum(wait == 0.0 for wait in waits) == 7
        if cache.shared:
            await others[1].close()

    async def test_clear_forgets_everything_everywhere(
        self, cache: Cache, another: Another
    ) -> None:
        other = await another()
        await other.put({"b": b"2"}, 60)
        await cache.put({"a": b"1"}, 60)
        await cache.claim("c", "one", 60)
        await cache.take("d", 1, 0.001, 1)
        assert await other.get(["b"]) == [b"2"]
        await cache.clear()
        assert await cache.get(["a", "b"]) == [None, None]
        assert await other.get(["a", "b"]) == [None, None if cache.shared else b"2"]
        assert await cache.claim("c", "two", 60) == Claim(mine=True)
        assert await cache.take("d", 1, 0.001, 1) == 0.0
        await cache.put({"a": b"3"}, 60)
        assert await other.get(["a"]) == [b"3" if cache.shared else None]
        await other.close()

    async def test_it_answers_when_asked(self, cache: Cache) -> None:
        await cache.probe()

    async def test_after_close_it_is_away(self, cache: Cache) -> None:
        await cache.put({"a": b"1"}, 60)
        await cache.close()
        await cache.close()
        assert await cache.get(["a"]) == [None]
        await cache.put({"a": b"1"}, 60)
        await cache.drop(["a"])
        assert await cache.claim("a", "one", 60) == Claim(mine=True)
        assert await cache.claim("a", "two", 60) == Claim(mine=True), "everybody's"
        with pytest.raises(CacheUnavailableError):
            await cache.take("a", 1, 1, 1)
        with pytest.raises(CacheUnavailableError):
            await cache.clear()
        with pytest.raises(CacheUnavailableError):
            await cache.probe()
