"""What happens to each extracted fact: it is new, it ends older memories, or it is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

from holdfast.core.extract import ExtractedFact, Extraction
from holdfast.core.grounding import content_key
from holdfast.limits import SUPERSEDED_PER_TURN_MAX
from holdfast.model import Memory, Scope, Struct

Event = Literal["ADD", "UPDATE", "NONE"]
"""Mem0's words. UPDATE is a new memory that ends older ones; nothing is overwritten."""

NEW: Final = "new"
KNOWN: Final = "an existing memory says the same"
SAID_TWICE: Final = "an earlier fact of this answer says the same"
ENDS: Final = "ends older memories"
ENDS_TOO_MANY: Final = "new; its turn would end more memories than one turn may"
ENDS_NOTHING: Final = (
    "new; what it would replace has ended, is newer, is immutable, or belongs to others"
)


class Decision(Struct, frozen=True, kw_only=True):
    """What to do with one fact, and why."""

    event: Event
    fact: ExtractedFact
    reason: str
    valid_from: float
    """When the fact begins to hold, epoch seconds: the end of what it supersedes."""
    supersedes: tuple[str, ...] = ()
    """Ids of memories that end at `valid_from`; for UPDATE at least one."""
    previous: str | None = None
    """Text of the first superseded memory, Mem0's `previous_memory`."""
    duplicate_of: str | None = None
    """For NONE: id of the existing memory, or None if an earlier fact of the batch says it."""


_TOOL_ROLES: Final = frozenset({"tool", "function"})
"""Roles whose words come from elsewhere: pages, files, other programs."""


def plan(
    extraction: Extraction,
    nearby: Sequence[Memory],
    *,
    scope: Scope,
    ended: Counter[str] | None = None,
) -> tuple[Decision, ...]:
    """One decision per fact, in order.

    A fact ends a memory only if that memory was shown, is written with the very same scope, is
    current and not immutable, and does not hold from after the fact was said. It ends when the fact
    begins, but never before its own beginning. What a tool brought ends only what a tool brought. A
    turn ends at most SUPERSEDED_PER_TURN_MAX memories: a fact that would end more ends none, for
    that is likelier a trick than a change. `ended` counts by turn what earlier batches ended, and
    is carried on.
    Facts equal in content to a current memory of the scope, or to an earlier fact of the batch,
    are duplicates.
    """
    ended = Counter() if ended is None else ended
    mine = {memory.id: memory for memory in nearby if memory.scope == scope and _current(memory)}
    known = {content_key(memory.text): memory.id for memory in mine.values()}
    seen: set[str] = set()
    decisions = []
    for fact in extraction.facts:
        key = content_key(fact.text)
        if key in known or key in seen:
            decisions.append(_duplicate(fact, known.get(key)))
            continue
        seen.add(key)
        room = SUPERSEDED_PER_TURN_MAX - ended[fact.turn_id]
        decision = _new(fact, mine, room)
        ended[fact.turn_id] += len(decision.supersedes)
        for gone in decision.supersedes:
            known.pop(content_key(mine.pop(gone).text), None)
        decisions.append(decision)
    return tuple(decisions)


def _current(memory: Memory) -> bool:
    """Raw turns kept beside their facts do not count: they say it, but nobody lists them."""
    return memory.listed and memory.valid_to is None


def _begins(memory: Memory) -> float:
    return memory.event_at if memory.valid_from is None else memory.valid_from


def _duplicate(fact: ExtractedFact, memory_id: str | None) -> Decision:
    return Decision(
        event="NONE",
        fact=fact,
        reason=KNOWN if memory_id else SAID_TWICE,
        valid_from=min(fact.event_at, fact.said_at),
        duplicate_of=memory_id,
    )


def _may_end(fact: ExtractedFact, memory: Memory) -> bool:
    brought = fact.role.casefold() in _TOOL_ROLES
    if brought and (memory.role or "").casefold() not in _TOOL_ROLES:
        return False
    return not memory.immutable and _begins(memory) <= fact.said_at


def _new(fact: ExtractedFact, mine: dict[str, Memory], room: int) -> Decision:
    """A later event holds from when it was told: a meeting that moves has moved today."""
    begin = min(fact.event_at, fact.said_at)
    named = [mine[memory_id] for memory_id in fact.replaces if memory_id in mine]
    ended = [memory for memory in named if _may_end(fact, memory)]
    if not ended or len(ended) > room:
        reason = ENDS_TOO_MANY if ended else ENDS_NOTHING if fact.replaces else NEW
        return Decision(event="ADD", fact=fact, reason=reason, valid_from=begin)
    return Decision(
        event="UPDATE",
        fact=fact,
        reason=ENDS,
        valid_from=max(begin, *(_begins(memory) for memory in ended)),
        supersedes=tuple(memory.id for memory in ended),
        previous=ended[0].text,
    )
