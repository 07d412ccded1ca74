"""Many tenants at once on one store, and a model of what each may know of.

Reads are made while nothing is written, and compared with the model exactly; writes are made all at
once. Whatever comes back, an error's text included, is looked through for the canaries and ids of
others.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from hypothesis import HealthCheck, Phase, given, settings

from holdfast import AsyncMemory
from holdfast.core.fence import OPEN, Fence, inside, mark_of
from holdfast.errors import FilterError
from holdfast.filters import Filter, compile_predicate, parse_filter
from holdfast.model import Json, Memory, Scope
from support.filter_strategies import written_filters

PROJECTS = ("default", "red", "blue")
FENCES = (
    OPEN,
    Fence(users=("a",)),
    Fence(users=("b", "al ice")),
    Fence(agents=("a",)),
    Fence(users=("a", "b"), agents=("b", "日本")),
    Fence(users=()),
)
UNKNOWN = "0190a000-0000-7000-8000-000000000000"

_CANARY = re.compile(r"canary(\d+)x")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_encode = msgspec.json.Encoder(enc_hook=str).encode

Call = Callable[[], Awaitable[None]]
Predicate = Callable[[Memory], bool]


@dataclass(frozen=True)
class Asked:
    """A filter as callers write it, what it means, and the same as a function."""

    written: dict[str, Json]
    tree: Filter
    test: Predicate


class Leak(AssertionError):
    """Somebody learned what is not theirs."""


@dataclass(eq=False)
class Tenant:
    """One principal, and the memory it was given."""

    project: str
    fence: Fence
    memory: AsyncMemory
    judged: dict[Scope, bool] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.project} {self.fence}"

    def may(self, scope: Scope) -> bool:
        """Whether what belongs to this scope is inside."""
        known = self.judged.get(scope)
        if known is None:
            known = self.judged[scope] = inside(self.fence, scope)
        return known


@dataclass
class Told:
    """An event that somebody may ask for."""

    scope: Scope
    mark: str | None


@dataclass
class World:
    """What is there, by project."""

    memories: dict[str, dict[str, Memory]] = field(default_factory=dict)
    gone: dict[str, dict[str, Memory]] = field(default_factory=dict)
    events: dict[str, dict[str, Told]] = field(default_factory=dict)
    canaries: dict[int, tuple[str, Scope]] = field(default_factory=dict)
    named: dict[str, set[str]] = field(default_factory=dict)
    """Ids that somebody of a project asked for, there or not: its audit tells them again."""

    def __post_init__(self) -> None:
        for project in PROJECTS:
            self.memories[project], self.gone[project], self.events[project] = {}, {}, {}
            self.named[project] = set()

    def seen(self, who: Tenant, test: Predicate | None = None) -> dict[str, Memory]:
        """The memories a tenant may see, those that match."""
        return {
            id_: memory
            for id_, memory in self.memories[who.project].items()
            if who.may(memory.scope) and (test is None or test(memory))
        }

    def knows(self, who: Tenant, id_: str) -> bool:
        """Whether an id is of something a tenant may know of."""
        memory = self.memories[who.project].get(id_) or self.gone[who.project].get(id_)
        if memory is not None and who.may(memory.scope):
            return True
        told = self.events[who.project].get(id_)
        return told is not None and self.may_see(who, told)

    @staticmethod
    def may_see(who: Tenant, told: Told) -> bool:
        """Whether an event is of a scope inside, or was ordered from behind the same fence."""
        return who.may(told.scope) or (told.mark is not None and told.mark == mark_of(who.fence))

    def inspect(self, who: Tenant, answer: Json, asked: Sequence[str] = ()) -> None:
        """Look through an answer. Raises Leak."""
        text = answer if isinstance(answer, str) else _encode(answer).decode()
        for number in _CANARY.findall(text):
            project, scope = self.canaries[int(number)]
            if project != who.project or not who.may(scope):
                raise Leak(f"{who} was told canary {number} of {project} {scope}: {text[:300]}")
        for id_ in _ID.findall(text):
            if id_ not in asked and not self.knows(who, id_):
                if '"updated_at"' in text and '"is_deleted"' in text:
                    continue  # history events have ids of their own; their texts were looked at
                raise Leak(f"{who} was told the id {id_}: {text[:300]}")


def expect(condition: object, who: Tenant, told: object) -> None:
    """Raises Leak unless it is so."""
    if not condition:
        raise Leak(f"{who}: {told}")


def drawn_filters(count: int) -> list[Asked]:
    """Random filters; those that are refused left out."""
    found: list[Asked] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(written_filters)
    def draw(written: dict[str, Json]) -> None:
        try:
            tree = parse_filter(written, require_entity=True)
        except FilterError:
            return
        found.append(Asked(written, tree, compile_predicate(tree)))

    draw()
    return found
