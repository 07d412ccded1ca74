"""What bad input is made of, and how a call that must be refused is watched."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import Memory
from holdfast.errors import HoldfastError, TooLargeError, ValidationError
from holdfast.limits import ID_CHARS_MAX
from holdfast.testing.hostile import REFUSED, STORABLE

SECRET = "offending-s3cret"
"""Stands in what is wrong, as far as there is room for it; no message may repeat it."""

ALICE = {"user_id": "alice"}
KEY = "first-add"
"""Idempotency key of what alice said first."""

NAN, INFINITY = float("nan"), float("inf")

Case = tuple[str, Any, type[HoldfastError]]
"""Name, input, and the error it must give."""

BAD_IDS: list[Case] = [
    ("empty", "", ValidationError),
    ("whitespace", " \u3000\n", ValidationError),
    ("10-kB", SECRET * 640, TooLargeError),
    ("everybody", "*", ValidationError),
    ("bytes", SECRET.encode(), ValidationError),
    ("list", [SECRET], ValidationError),
    ("mapping", {"id": SECRET}, ValidationError),
    ("float", 1.5, ValidationError),
    ("flag", True, ValidationError),
    ("endless-number", 10**5_000, ValidationError),
    *((f"refused-{n}", SECRET + text, ValidationError) for n, text in enumerate(REFUSED)),
]

GOOD_IDS = list(
    dict.fromkeys(
        [
            "with space", "a/b?c=d&e#f%20", "o'brien \"the great\" \\", "用户", "שלום", "👩‍👩‍👧",
            "a\u0301", "tab\tand\nline", "NULL", "%", "_", "ALICE", "alice ;--", "x" * ID_CHARS_MAX,
            *(t for t in STORABLE if t == t.strip() != "*" and 0 < len(t) <= ID_CHARS_MAX),
        ]
    )
)  # fmt: skip


def params(cases: list[Case]) -> Any:
    """The cases as pytest wants them: input and error."""
    return [pytest.param(value, kind, id=name) for name, value, kind in cases]


def said(**message: Any) -> list[dict[str, Any]]:
    """A good message, then one made of these fields."""
    return [{"role": "user", "content": "fine"}, message]


def first_id(memory: Memory) -> str:
    """The id of what alice said first."""
    found: str = memory.get_all(filters=ALICE)["results"][0]["id"]
    return found


AUDIT = ("audit", "audit_heads")
"""The tables that tell of a refused call as well, and no other does."""


def rows(folder: Path) -> dict[str, list[Any]]:
    """Every row of every table of a store but the audit's; statistics that SQLite keeps for itself
    are not ours."""
    return {name: found for name, found in _tables(folder).items() if name not in AUDIT}


def audit_rows(folder: Path) -> list[Any]:
    """Every row of a store's audit, the oldest first."""
    return sorted(_tables(folder)["audit"])


def _tables(folder: Path) -> dict[str, list[Any]]:
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    name = f"file:{folder / 'holdfast.db'}?mode=ro"
    with closing(sqlite3.connect(name, uri=True)) as connection:
        names = [table for (table,) in connection.execute(tables)]
        assert {"memories", *AUDIT} <= {*names}
        return {one: connection.execute(f'SELECT * FROM "{one}"').fetchall() for one in names}


class Refusals:
    """Makes calls that must fail without a trace but in the audit, on a store with memories of two
    users."""

    def __init__(self, memory: Memory, folder: Path) -> None:
        self._memory = memory
        self._folder = folder

    def __call__(
        self, kind: type[HoldfastError], verb: str, *args: Any, **named: Any
    ) -> HoldfastError:
        """The error of a call; it must be of exactly this kind, and one a caller can work with."""
        before = self._kept()
        told = audit_rows(self._folder)
        started = time.monotonic()
        with pytest.raises(HoldfastError) as caught:
            getattr(self._memory, verb)(*args, **named)
        error = caught.value
        assert time.monotonic() - started < 5
        assert self._kept() == before
        audit = audit_rows(self._folder)
        assert audit[: len(told)] == told
        assert SECRET not in str(audit)
        assert type(error) is kind
        assert error.code == kind.code != HoldfastError.code
        assert error.message
        assert error.hint
        assert not error.retryable
        assert SECRET not in str(error)
        assert str(error).isprintable(), "one line, and nothing that could steer a terminal"
        assert len(str(error)) < 1_000
        return error

    def _kept(self) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """What the store says of itself and holds, without what the audit's own rows change: their
        room on the disk."""
        told = {name: value for name, value in self._memory.stats().items() if name != "bytes"}
        return told, rows(self._folder)
