"""Who is acting, and what they are doing: known to everything that is called meanwhile.

An act belongs to a context, as a request or a task has one. It is begun at a public face, written
into the transaction of what it changes, and noted at its end if it changed nothing.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final, Literal

from holdfast.limits import AUDIT_SUBJECTS_MAX

Sort = Literal["read", "write", "admin"]
"""What an act does: looks at memories or settings, changes memories, or runs the deployment."""

Way = Literal["", "import", "approval"]
"""How something comes to be added: by a call (""), from a file, or by an approval."""

Ids = tuple[str | None, str | None, str | None, str | None]
"""A user, an agent, an app and a run."""

ANYBODY: Final = ("*", "*", "*", "*")
"""Stands for more than are told apart."""


class Actor:
    """Who acts: filled in as it becomes known."""

    __slots__ = ("acted", "address", "kind", "principal", "request_id", "via")

    def __init__(
        self,
        principal: str = "",
        kind: str = "nobody",
        via: str = "library",
        address: str = "",
        request_id: str = "",
    ) -> None:
        self.principal = principal
        """Names a credential, or who runs this process; never a secret."""
        self.kind = kind
        """"root", "key", "account", "token", "anyone"; "user" of the operating system; "worker";
        "nobody" for whom no credential told."""
        self.via = via
        """"library", "cli", "http", "mcp" or "worker"."""
        self.address = address
        self.request_id = request_id
        self.acted = 0
        """How many acts were begun in their name."""


class Act:
    """Something that is being done."""

    __slots__ = (
        "action", "actor", "count", "is_watched", "parts", "sort", "subjects", "target", "written"
    )  # fmt: skip

    def __init__(self, action: str, sort: Sort, actor: Actor) -> None:
        self.action = action
        """The verb, by the name of its method."""
        self.sort = sort
        self.actor = actor
        self.parts: Any = None
        """What it is done with, once that is known (`engine.parts.Parts`)."""
        self.subjects: dict[Ids, None] = {}
        """Whose memories it is about."""
        self.target: str | None = None
        """The id of what it is done to."""
        self.count: int | None = None
        self.is_watched = False
        """Whether the audit wants to know whose memories it is about."""
        self.written = False
        """Whether it stands in a transaction."""

    def about(self, *ids: Ids) -> None:
        """Note whose memories the act is about; beyond AUDIT_SUBJECTS_MAX they become ANYBODY."""
        for one in ids:
            if one not in self.subjects:
                is_full = len(self.subjects) >= AUDIT_SUBJECTS_MAX
                self.subjects[ANYBODY if is_full else one] = None


_act: ContextVar[Act | None] = ContextVar("holdfast_act", default=None)
_actor: ContextVar[Actor | None] = ContextVar("holdfast_actor", default=None)
_way: ContextVar[Way] = ContextVar("holdfast_way", default="")


def act_now() -> Act | None:
    """What is being done in this context."""
    return _act.get()


def watched_act() -> Act | None:
    """The act of this context, if the audit wants to know whose memories it is about."""
    act = _act.get()
    return act if act is not None and act.is_watched else None


def actor_now() -> Actor:
    """Who acts in this context: unless told otherwise, whoever runs this process."""
    return _actor.get() or Actor(*_process_user())


@contextmanager
def doing(act: Act | None) -> Iterator[None]:
    """Make this the act of everything done inside; None: it belongs to no act."""
    token = _act.set(act)
    try:
        yield
    finally:
        _act.reset(token)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Make this the actor of everything done inside."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def way_now() -> Way:
    """How what is added in this context comes to be added."""
    return _way.get()


@contextmanager
def coming_by(way: Way) -> Iterator[None]:
    """Make this the way of everything added inside."""
    token = _way.set(way)
    try:
        yield
    finally:
        _way.reset(token)


def process_actor(via: str) -> Actor:
    """The user who runs this process, acting `via` another face than the library."""
    return Actor(*_process_user(), via=via)


@cache
def _process_user() -> tuple[str, str]:
    """The name and kind of who runs this process."""
    try:
        return getpass.getuser(), "user"
    except (OSError, KeyError):  # a container whose user has no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown", "user"
