"""What the store must hold: everything that was acknowledged, and at most the call under way."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.crash.orders import Begun, Done, Message, Work


class Kept(msgspec.Struct, frozen=True):
    """A memory as callers gave it."""

    text: str
    metadata: dict[str, Any] | None


Held = dict[str, Kept]
"""Memories by id, in order of insertion."""


class LostError(AssertionError):
    """The store is not what was acknowledged."""


class Book:
    """Keeps account of one store over many kills."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.keys: dict[str, tuple[str, ...]] = {}
        """Idempotency keys of the adds that were carried out, and the ids they answered with."""
        self.retries: list[Work] = []
        """Adds with a key that were cut off."""
        self._under_way: dict[str, Work] = {}
        self.acknowledged = 0
        self.cut_off = {"there": 0, "absent": 0}

    def hear(self, message: Message) -> None:
        """Take down what a victim says."""
        if isinstance(message, Begun):
            self._under_way[message.work.user] = message.work
        elif isinstance(message, Done):
            self.acknowledged += 1
            work = self._under_way.pop(message.user)
            assert work.number == message.number
            self._apply(work, message.ids)

    def settle(self, found: dict[str, Held]) -> None:
        """Compare with the store after a kill; what was under way is there wholly or not at all."""
        self.retries = [work for work in self._under_way.values() if work.key is not None]
        for user in sorted(self.held.keys() | found.keys() | self._under_way.keys()):
            self._settle(user, found.get(user, {}), self._under_way.pop(user, None))

    def _settle(self, user: str, found: Held, work: Work | None) -> None:
        held = self.held.setdefault(user, {})
        if found == held:
            self.cut_off["absent"] += work is not None
            return
        if work is None:
            raise LostError(f"{user}: {_difference(held, found)}")
        new = tuple(id_ for id_ in found if id_ not in held)
        self._apply(work, new)
        if found != self.held[user]:
            told = f"under way: {work.verb} of {work.memory_id or len(work.texts)}"
            raise LostError(f"{user}: {_difference(held, found)}; {told}")
        self.cut_off["there"] += 1

    def _apply(self, work: Work, ids: tuple[str, ...]) -> None:
        held = dict(self.held.get(work.user, {}))
        if work.verb == "add":
            self._apply_add(work, ids, held)
        elif work.verb == "update":
            old = held[work.memory_id or ""]
            merged = {**(old.metadata or {}), **(work.metadata or {})} or None
            held[work.memory_id or ""] = Kept(work.texts[0], merged)
        elif work.verb == "delete":
            del held[work.memory_id or ""]
        else:
            held.clear()
        self.held[work.user] = held

    def _apply_add(self, work: Work, ids: tuple[str, ...], held: Held) -> None:
        if len(ids) != len(work.texts):
            raise LostError(f"{work.user}: {len(ids)} of {len(work.texts)} memories of one add")
        if work.key is not None and self.keys.setdefault(work.key, ids) != ids:
            raise LostError(f"{work.key}: first {self.keys[work.key]}, then {ids}")
        for id_, text in zip(ids, work.texts, strict=True):
            held[id_] = Kept(text, work.metadata)


def _difference(held: Held, found: Held) -> str:
    """For people: how many are missing, unexpected or changed, and one of each."""
    sets = {
        "missing": [id_ for id_ in held if id_ not in found],
        "unexpected": [id_ for id_ in found if id_ not in held],
        "changed": [id_ for id_ in held if id_ in found and held[id_] != found[id_]],
    }
    told = [f"{len(ids)} {name}, e.g. {ids[0]}" for name, ids in sets.items() if ids]
    return "; ".join(told)
