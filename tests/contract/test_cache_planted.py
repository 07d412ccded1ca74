"""Faults planted in the cache of a process, about one for each sentence of `ports.Cache`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from holdfast.backends.process_cache import ProcessCache
from holdfast.errors import CacheUnavailableError
from holdfast.ports import Cache, Claim
from holdfast.testing.contracts.cache import CacheContract

HELD: dict[str, bytes] = {}
"""What broken caches share that should not, or hold too long."""


class Seconds:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Whole(ProcessCache):
    """No fault."""


class FindsInDisorder(ProcessCache):
    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return await super().get(sorted(keys))


class LeavesOutWhatIsNotThere(ProcessCache):
    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return [each for each in await super().get(keys) if each is not None]


class KeepsTheFirst(ProcessCache):
    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        fresh = {
            k: v for k, v in values.items() if (await super(KeepsTheFirst, self).get([k])) == [None]
        }
        await super().put(fresh, ttl_s)


class FoldsKeys(ProcessCache):
    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return await super().get([key.strip().lower() for key in keys])

    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        await super().put({key.strip().lower(): value for key, value in values.items()}, ttl_s)


class CutsKeys(ProcessCache):
    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return await super().get([key[:64] for key in keys])

    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        await super().put({key[:64]: value for key, value in values.items()}, ttl_s)


class StripsValues(ProcessCache):
    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        await super().put({key: value.strip() for key, value in values.items()}, ttl_s)


class TakesEmptyForNone(ProcessCache):
    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return [value or None for value in await super().get(keys)]


class KeepsForEver(ProcessCache):
    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        await super().put(values, 1e9)


class KeepsTheFirstTime(ProcessCache):
    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        now = self._now()
        ends = {key: entry.until for key, entry in self._values._entries.items()}
        for key, value in values.items():
            await super().put({key: value}, ends.get(key, now + ttl_s) - now)


class DropsNothing(ProcessCache):
    async def drop(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._claims.pop(key, None)


class DropsValuesOnly(ProcessCache):
    async def drop(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._values.drop(key)


class SharesAgainstItsWord(ProcessCache):
    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return [HELD.get(key) for key in keys]

    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        HELD.update(values)


class GivesEveryClaim(ProcessCache):
    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim:
        return Claim(value=(await self.get([key]))[0], mine=True)


class ForgetsWhoseItIs(ProcessCache):
    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim:
        return await super().claim(key, f"{owner} {self._now()} {len(self._claims)}", ttl_s)


class ClaimsSlowly(ProcessCache):
    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim:
        free = key not in self._claims
        await asyncio.sleep(0)
        return (
            Claim(mine=True)
            if free
            and ttl_s
            and not self._closed
            and (self._claims.setdefault(key, (owner, self._now() + ttl_s)) or True)
            else await super().claim(key, owner, ttl_s)
        )


class ClaimsAreValues(ProcessCache):
    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim:
        claim = await super().claim(key, owner, ttl_s)
        if claim.mine:
            await self.put({key: b"claimed"}, ttl_s)
        return claim


class ClaimsBlindly(ProcessCache):
    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim:
        return Claim(mine=(await super().claim(key, owner, ttl_s)).mine)


class ClaimsForEver(ProcessCache):
    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim:
        return await super().claim(key, owner, 1e9)


class GivesAlways(ProcessCache):
    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        await super().take(key, amount, per_second, burst)
        return 0.0


class OneBucketForAll(ProcessCache):
    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        return await super().take("", amount, per_second, burst)


class TakesWhatItRefuses(ProcessCache):
    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        wait = await super().take(key, amount, per_second, burst)
        if wait:
            level, at, full_at = self._buckets[key]
            self._buckets[key] = type(self._buckets[key])(level - amount, at, full_at)
        return wait


class Overflows(ProcessCache):
    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        known = self._buckets.get(key)
        if known is not None:
            level = known.level + (self._now() - known.at) * per_second
            if amount <= level:
                self._buckets[key] = type(known)(level - amount, self._now(), known.full_at)
                return 0.0
        return await super().take(key, amount, per_second, burst)


class NeverFills(ProcessCache):
    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        wait = await super().take(key, amount, 1e-9, burst)
        return 0.0 if wait == 0.0 else wait * 1e-9 / per_second


class OwesNothing(ProcessCache):
    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        return await super().take(key, min(amount, burst), per_second, burst)


class TakesBackNothing(ProcessCache):
    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        return await super().take(key, max(0.0, amount), per_second, burst)


class TakesTwiceAtOnce(ProcessCache):
    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        if amount == 1 and burst == 7:
            return (
                0.0
                if len(self._buckets) < 2
                else await super().take(key, amount, per_second, burst)
            )
        return await super().take(key, amount, per_second, burst)


class ClearsValuesOnly(ProcessCache):
    async def clear(self) -> None:
        self._values.clear()


class ClearsNothing(ProcessCache):
    async def clear(self) -> None:
        """Leaves all as it is."""


class AnswersNobody(ProcessCache):
    async def probe(self) -> None:
        raise CacheUnavailableError("Away.")


class LivesOn(ProcessCache):
    async def close(self) -> None:
        """Stays."""


class SaysSoWhenClosed(ProcessCache):
    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        if self._closed:
            raise CacheUnavailableError("Closed.")
        return await super().get(keys)


FAULTS: dict[str, type[ProcessCache]] = {
    name: each
    for name, each in globals().items()
    if inspect.isclass(each)
    and issubclass(each, ProcessCache)
    and each not in (ProcessCache, Whole)
}
SENTENCES = [
    name
    for name, _ in inspect.getmembers(CacheContract, inspect.iscoroutinefunction)
    if name.startswith("test_")
]


async def holds(name: str, kind: type[ProcessCache]) -> bool:
    """Whether a kind of cache keeps one sentence."""
    HELD.clear()
    seconds = Seconds()

    async def another() -> Cache:
        return kind(2**22, seconds)

    test = getattr(CacheContract(), name)
    values: dict[str, Any] = {"another": another, "passes": seconds.sleep, "cache": await another()}
    given = {key: values[key] for key in inspect.signature(test).parameters}
    try:
        await test(**given)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001  (any failure is a failure)
        return False
    return True


async def broken_by(kind: type[ProcessCache]) -> set[str]:
    return {name for name in SENTENCES if not await holds(name, kind)}


async def test_the_cache_without_a_fault_breaks_no_sentence() -> None:
    assert await broken_by(Whole) == set()
    assert len(SENTENCES) > 20


async def test_every_fault_breaks_a_sentence_and_every_sentence_is_broken_by_one() -> None:
    broken = {name: await broken_by(kind) for name, kind in FAULTS.items()}
    assert [name for name, found in broken.items() if not found] == []
    assert set(SENTENCES) - set().union(*broken.values()) == set()
