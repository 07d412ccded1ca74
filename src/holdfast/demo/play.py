"""Plays the demonstration: stores the shipped conversation and asks it the shipped questions."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.batches import batches
from holdfast.core.transcripts import Record, records
from holdfast.model import Json

if TYPE_CHECKING:
    from holdfast import Memory

SHOWN = 3
"""Memories shown for each question."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question and the turns that answer it."""

    question: str
    evidence_ids: tuple[str, ...]


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What the demonstration stores and asks."""

    title: str
    user_id: str
    turns: tuple[Record, ...]
    questions: tuple[Asked, ...]

    @property
    def sessions(self) -> int:
        """How many sittings the conversation has."""
        return len({turn.scope.run_id for turn in self.turns})

    @property
    def ends(self) -> float | None:
        """When the last turn was said, epoch seconds: the day the questions are asked on."""
        return self.turns[-1].at


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one question brought."""

    question: str
    found: tuple[dict[str, Json], ...]
    """The best memories, as the library returns them."""
    expected: frozenset[str]
    """Ids of the memories that answer it."""
    seconds: float

    @property
    def answered(self) -> bool:
        """Whether one of the best memories is an expected one."""
        return any(memory["id"] in self.expected for memory in self.found)


def script() -> Script:
    """The conversation and the questions that are shipped."""
    conversation = _shipped("conversation.json", Any)
    turns = tuple(part for part in records(conversation, "neutral") if isinstance(part, Record))
    return Script(
        title=conversation["title"],
        user_id=conversation["conversation_id"],
        turns=turns,
        questions=_shipped("questions.json", tuple[Asked, ...]),
    )


def _shipped(name: str, kind: Any) -> Any:
    return msgspec.json.decode(resources.files(__package__).joinpath(name).read_bytes(), type=kind)


def remember(memory: Memory, told: Script, advance: Callable[[int], None]) -> dict[str, str]:
    """Stores the conversation; the memory's id of each turn id. Again, it adds nothing.

    Args:
        memory: where to.
        told: what to store.
        advance: told how many more turns are stored.
    """
    ids: dict[str, str] = {}
    for batch in batches(told.turns):
        answer = memory.add(**batch.arguments(), infer=False)
        for turn, item in zip(batch.records, answer["results"], strict=True):
            ids[turn.turn_id] = item["id"]
        advance(len(batch.records))
    return ids


def ask(memory: Memory, told: Script, asked: Asked, ids: dict[str, str]) -> Answer:
    """Asks one question, on the day the conversation ends."""
    began = time.perf_counter()
    answer = memory.search(
        asked.question,
        top_k=SHOWN,
        filters={"user_id": told.user_id},
        reference_date=told.ends,
    )
    return Answer(
        question=asked.question,
        found=tuple(answer["results"]),
        expected=frozenset(ids[turn] for turn in asked.evidence_ids),
        seconds=time.perf_counter() - began,
    )
