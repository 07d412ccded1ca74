"""Which shard holds a memory: a map, and the decisions that follow from it.

A memory lives in the shard of its home: its user, or else its agent, app or run. So a question
about a user asks one shard, and one about an agent all of them. The shard of a home is found by
weighted rendezvous hashing (Thaler and Ravishankar 1998; weights as -w / ln u, Schindelhauer and
Schomaker 2005): when a shard comes or goes only the homes move that it gets or had.

A change of the placement is carried out in phases, as schemas are changed online (Rae et al., F1,
2013). Instances may be one phase apart, and any two neighbours are right side by side:

    settled     reads before            writes before
    copying     reads before            writes before and after     points are copied
    switched    reads after             writes before and after
    cleaning    reads after             writes after                old copies are removed
    settled     (what was after is now before)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Context
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Literal

import msgspec

from holdfast.errors import ConfigError
from holdfast.model import ANY, ENTITY_KINDS, Entity, Project, Struct
from holdfast.ports import Point
from holdfast.ports.shards import Progress

Phase = Literal["settled", "copying", "switched", "cleaning"]

_EXACT: Final = Context(prec=40)
"""Decimal logarithms are correctly rounded: the same on every machine, which those of floats are
not."""
_HOMES_CACHED: Final = 65_536


class Shard(Struct, frozen=True, kw_only=True):
    """One index among several."""

    name: str
    region: str | None = None
    weight: int = 1
    """Its share of the homes, beside those of the others."""


class Pin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keeps homes in one shard, or in the shards of one region."""

    user: str | None = None
    """The id of a user; with "*" at its end, of all whose id begins so."""
    project: str | None = None
    """With `user`: that user of this project; alone: every home of the project."""
    shard: str | None = None
    region: str | None = None

    def holds(self, project: Project, home: Entity) -> bool:
        """Whether this pin is about this home."""
        if self.project not in (None, project):
            return False
        if self.user is None:
            return True
        if home.kind != "user":
            return False
        prefix = self.user.removesuffix("*")
        return home.id == self.user or (prefix != self.user and home.id.startswith(prefix))

    def takes(self, shard: Shard) -> bool:
        """Whether it lets its homes live in this shard."""
        return self.shard == shard.name if self.shard else self.region == shard.region


class Placement(Struct, frozen=True, kw_only=True):
    """The shards that homes live in, and the rules that keep some where they must be."""

    shards: tuple[Shard, ...]
    """Ordered by name."""
    pins: tuple[Pin, ...] = ()
    """The first that holds decides; those that name a user in full come before prefixes."""

    def owner(self, project: Project, home: Entity) -> str:
        """The name of the shard a home lives in."""
        return _heaviest(self._allowed(project, home), _key(project, home))

    def _allowed(self, project: Project, home: Entity) -> Sequence[Shard]:
        for pin in self.pins:
            if pin.holds(project, home):
                return [shard for shard in self.shards if pin.takes(shard)]
        return self.shards


def placement(shards: Sequence[Shard], pins: Sequence[Pin]) -> Placement:
    """A placement in its one form. Raises ConfigError if a home could not live anywhere."""
    if not shards:
        raise ConfigError(
            "index.config.shards: every shard is leaving.", hint="Keep one without `drain`, `lost`."
        )
    for pin in pins:
        if (pin.user is None and pin.project is None) or bool(pin.shard) == bool(pin.region):
            raise ConfigError(
                "index.config.pins: a pin names a `user` or a `project`, and one of `shard` and "
                "`region`."
            )
        if not any(pin.takes(shard) for shard in shards):
            raise ConfigError(
                f"index.config.pins: no shard that stays is {pin.shard or pin.region!r}.",
                hint="Move the pin before its last shard leaves.",
            )
    prefixes = [pin for pin in pins if pin.user is None or pin.user.endswith("*")]
    exact = [pin for pin in pins if pin not in prefixes]
    ordered = tuple(sorted(shards, key=lambda shard: shard.name))
    return Placement(shards=ordered, pins=(*exact, *prefixes))


class ShardMap(Struct, frozen=True, kw_only=True):
    """Where points are: what is stored, and what every instance goes by."""

    phase: Phase = "settled"
    before: Placement
    after: Placement
    """The same as `before` when settled."""
    progress: Progress = Progress()

    def next(self, wanted: Placement) -> ShardMap:
        """The map of the phase that follows; `wanted` is where to go from a settled one."""
        if self.phase == "settled":
            return ShardMap(phase="copying", before=self.before, after=wanted)
        if self.phase == "copying":
            return ShardMap(phase="switched", before=self.before, after=self.after)
        if self.phase == "switched":
            return ShardMap(phase="cleaning", before=self.before, after=self.after)
        return ShardMap(before=self.after, after=self.after)


def encode(shard_map: ShardMap) -> bytes:
    """The bytes that are stored."""
    return msgspec.json.encode(shard_map)


def decode(value: bytes) -> ShardMap:
    """The map of stored bytes. Raises ConfigError if they are none."""
    try:
        return msgspec.json.decode(value, type=ShardMap)
    except msgspec.DecodeError:
        raise ConfigError(
            "The stored map of the shards cannot be read.",
            hint="Was it written by a newer version? Else rebuild the index.",
        ) from None


class Plan:
    """What a map means for single calls; remembers the shards of homes it was asked for."""

    def __init__(self, shard_map: ShardMap) -> None:
        self.map = shard_map
        self.settled = shard_map.phase == "settled"
        reading = shard_map.before if shard_map.phase in ("settled", "copying") else shard_map.after
        self.readable = tuple(shard.name for shard in reading.shards)
        """Those that a question without a user asks."""
        both = {shard.name for side in (shard_map.before, shard_map.after) for shard in side.shards}
        self.names = tuple(sorted(both))
        """All that may hold points."""
        remember = lru_cache(maxsize=_HOMES_CACHED)
        self._reader = remember(reading.owner)
        self._before = remember(shard_map.before.owner)
        self._after = remember(shard_map.after.owner)

    def reads(self, project: Project, entity: Entity) -> tuple[str, ...]:
        """The shards that together hold every point of the entity."""
        if len(self.readable) == 1 or entity.kind != "user" or entity.id == ANY:
            return self.readable
        return (self._reader(project, entity),)

    def writes(self, project: Project, entities: Sequence[Entity]) -> tuple[str, ...]:
        """The shards that must hold a point."""
        old, new = self.owners(project, entities)
        if self.map.phase == "cleaning" or old == new:
            return (new,)
        return (old, new)

    def divide(
        self, project: Project, points: Sequence[Point], names: Iterable[str]
    ) -> tuple[dict[str, list[Point]], dict[str, list[str]]]:
        """What each of the shards `names` must hold of these points, and the ids it must not.

        Of points with the same id the last is meant.
        """
        own: dict[str, list[Point]] = {name: [] for name in names}
        others: dict[str, list[str]] = {name: [] for name in own}
        for point in {point.id: point for point in points}.values():
            targets = self.writes(project, point.entities)
            for name, held in own.items():
                if name in targets:
                    held.append(point)
                else:
                    others[name].append(point.id)
        return own, others

    def owners(self, project: Project, entities: Sequence[Entity]) -> tuple[str, str]:
        """Where a point lives before and after the change."""
        at = home(entities)
        return self._before(project, at), self._after(project, at)


def home(entities: Sequence[Entity]) -> Entity:
    """The entity whose shard a memory lives in: the first of user, agent, app and run."""
    return min(entities, key=lambda entity: ENTITY_KINDS.index(entity.kind))


def _key(project: Project, entity: Entity) -> bytes:
    """A digest of a home over bytes that are the same everywhere: each part with its length."""
    digest = blake2b(b"holdfast home 1", digest_size=16)
    for part in (project, entity.kind, entity.id):
        text = part.encode()
        digest.update(len(text).to_bytes(4, "big") + text)
    return digest.digest()


def _heaviest(shards: Sequence[Shard], key: bytes) -> str:
    """The shard with the greatest -w / ln u, where u is drawn from key and name."""
    draws = [(_draw(key, shard.name), shard) for shard in shards]
    if len({shard.weight for shard in shards}) > 1:
        return max((_share(u, shard.weight), shard.name) for u, shard in draws)[1]
    # with equal weights the order is that of the draws
    return max((u, shard.name) for u, shard in draws)[1]


def _draw(key: bytes, name: str) -> int:
    return int.from_bytes(blake2b(key + name.encode(), digest_size=8).digest(), "big")


def _share(draw: int, weight: int) -> object:
    unit = _EXACT.divide(draw + 1, 2**64 + 1)
    return _EXACT.divide(weight, _EXACT.minus(_EXACT.ln(unit)))
