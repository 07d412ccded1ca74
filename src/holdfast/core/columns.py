"""The rows of a working set as columns: made from entries, grown, cut."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.core import text

KINDS: Final = ("turn", "fact", "summary")
ROLES: Final = (None, "user", "assistant")
TURN: Final = 0
_OTHER_ROLE: Final = len(ROLES)
USER: Final = ROLES.index("user")
ASSISTANT: Final = ROLES.index("assistant")

_SPARE_SHARE: Final = 8
_SPARE_MIN: Final = 8
"""Room for new vectors behind the rows: one row in so many, and at least so many rows."""
_CHUNK_ROWS: Final = 4_096


class Room:
    """Vectors with spare rows behind them, so that a view grows without a copy of what it has.

    A view sees the rows it was made with, and nothing may write to those; the spare rows belong to
    whoever takes them first.
    """

    def __init__(self, rows: int, dimensions: int) -> None:
        """All rows are taken by the caller, who fills them through `whole` before sharing them."""
        spare = max(_SPARE_MIN, rows // _SPARE_SHARE)
        self.whole = np.empty((rows + spare, dimensions), dtype=np.float32)
        self._taken = rows
        self._lock = threading.Lock()

    def take(self, after: int, rows: int) -> bool:
        """Take spare rows directly behind the first `after`; False if they are not free."""
        with self._lock:
            free = self._taken == after and after + rows <= len(self.whole)
            if free:
                self._taken += rows
            return free

    def first(self, rows: int) -> NDArray[np.float32]:
        """The first rows, to read."""
        seen = self.whole[:rows]
        seen.flags.writeable = False
        return seen


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What records give the index for one memory.

    `terms`, `flags`, `words`, `speaker`: see `core.text.analyze`. `vector`: float32 little-endian,
    L2-normalised, or None while it is missing. Times are epoch seconds.
    """

    id: str
    seq: int
    terms: bytes
    flags: int
    words: int
    speaker: int
    event_time: float
    role: str | None = None
    kind: str = "turn"
    session: str | None = None
    valid_from: float | None = None
    valid_to: float | None = None
    expires_at: float | None = None
    vector: bytes | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """The entries of a view turned into arrays of one length, sorted by (event_time, seq)."""

    ids: tuple[str, ...]
    sessions: tuple[str | None, ...]
    seq: NDArray[np.int64]
    event_time: NDArray[np.float64]
    valid_from: NDArray[np.float64]
    """-inf where open."""
    valid_to: NDArray[np.float64]
    """+inf where open."""
    expires_at: NDArray[np.float64]
    """+inf where open."""
    vectors: NDArray[np.float32]
    """[n, dimensions], C order; zeros where missing."""
    flags: NDArray[np.int64]
    words: NDArray[np.int32]
    speaker: NDArray[np.int64]
    role: NDArray[np.int8]
    """Place in ROLES; len(ROLES) for any other."""
    kind: NDArray[np.int8]
    """Place in KINDS."""
    lengths: NDArray[np.int32]
    """Index terms of each row."""
    names: tuple[tuple[int, bytes], ...]
    """Each speaker once, by first appearance: hash and the terms of the name."""
    room: Room = field(compare=False, repr=False)
    """Where the vectors are."""

    @classmethod
    def of(cls, entries: Sequence[Entry], dimensions: int) -> Columns:
        """The columns of entries in order. ValueError if a vector has other dimensions."""
        role_codes = {role: code for code, role in enumerate(ROLES)}
        kind_codes = {kind: code for code, kind in enumerate(KINDS)}
        room = _vectors(entries, dimensions)
        return cls(
            ids=tuple([entry.id for entry in entries]),
            sessions=tuple([entry.session for entry in entries]),
            seq=np.array([entry.seq for entry in entries], dtype=np.int64),
            event_time=np.array([entry.event_time for entry in entries], dtype=np.float64),
            valid_from=_times([entry.valid_from for entry in entries], -np.inf),
            valid_to=_times([entry.valid_to for entry in entries], np.inf),
            expires_at=_times([entry.expires_at for entry in entries], np.inf),
            vectors=room.first(len(entries)),
            flags=np.array([entry.flags for entry in entries], dtype=np.int64),
            words=np.array([entry.words for entry in entries], dtype=np.int32),
            speaker=np.array([entry.speaker for entry in entries], dtype=np.int64),
            role=np.array([role_codes.get(e.role, _OTHER_ROLE) for e in entries], dtype=np.int8),
            kind=np.array([kind_codes.get(e.kind, TURN) for e in entries], dtype=np.int8),
            lengths=np.array([len(entry.terms) >> 3 for entry in entries], dtype=np.int32),
            names=tuple(_names(entries).items()),
            room=room,
        )

    def extended(self, added: Columns) -> Columns:
        """With more rows behind the present ones."""
        room, rows = self.room, len(self.ids)
        more = len(added.ids)
        if not room.take(rows, more):
            room = Room(rows + more, self.vectors.shape[1])
            room.whole[:rows] = self.vectors
        room.whole[rows : rows + more] = added.vectors
        known = {speaker for speaker, _ in self.names}
        return Columns(
            ids=self.ids + added.ids,
            sessions=self.sessions + added.sessions,
            vectors=room.first(rows + more),
            names=self.names + tuple(pair for pair in added.names if pair[0] not in known),
            room=room,
            **{
                name: np.concatenate((getattr(self, name), getattr(added, name))) for name in _PLAIN
            },
        )

    def merged(self, added: Columns, source: NDArray[np.intp]) -> Columns:
        """Row i is row `source[i]` of these columns with the added ones behind them."""
        rows = len(source)
        room = Room(rows, self.vectors.shape[1])
        new = np.flatnonzero(source >= len(self.ids))
        behind = source[new] - len(self.ids)

        def picked(old: NDArray[Any], fresh: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
            if len(old):
                old.take(source, axis=0, out=out, mode="clip")
            out[new] = fresh[behind]
            return out

        picked(self.vectors, added.vectors, room.whole[:rows])
        plain = {
            name: picked(column, getattr(added, name), np.empty(rows, dtype=column.dtype))
            for name, column in ((name, getattr(self, name)) for name in _PLAIN)
        }
        order = source.tolist()
        return Columns(
            ids=tuple(map((self.ids + added.ids).__getitem__, order)),
            sessions=tuple(map((self.sessions + added.sessions).__getitem__, order)),
            vectors=room.first(rows),
            names=_names_by_appearance(plain["speaker"], dict(self.names + added.names)),
            room=room,
            **plain,
        )


_PLAIN: Final = tuple(
    "seq event_time valid_from valid_to expires_at flags words speaker role kind lengths".split()
)
"""The columns of one number a row."""


def in_order(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Sorted as rows are: by event time, then by insertion."""
    keys = [(entry.event_time, entry.seq) for entry in entries]
    if all(a <= b for a, b in pairwise(keys)):
        return entries
    return [entries[i] for i in sorted(range(len(entries)), key=keys.__getitem__)]


def _times(values: list[float | None], missing: float) -> NDArray[np.float64]:
    if not any(value is not None for value in values):
        return np.full(len(values), missing)
    return np.array([missing if value is None else value for value in values], dtype=np.float64)


def _vectors(entries: Sequence[Entry], dimensions: int) -> Room:
    width = 4 * dimensions
    zero = bytes(width)
    room = Room(len(entries), dimensions)
    for start in range(0, len(entries), _CHUNK_ROWS):
        parts = [entry.vector or zero for entry in entries[start : start + _CHUNK_ROWS]]
        if any(len(part) != width for part in parts):
            raise ValueError(f"a vector does not have {dimensions} dimensions")
        chunk = np.frombuffer(b"".join(parts), dtype="<f4")
        room.whole[start : start + len(parts)] = chunk.reshape(len(parts), dimensions)
    return room


def _names(entries: Sequence[Entry]) -> dict[int, bytes]:
    """The terms of each speaker's name, from the first row of the speaker."""
    names: dict[int, bytes] = {}
    for entry in entries:
        if entry.speaker and entry.speaker not in names:
            names[entry.speaker] = entry.terms[: 8 * (entry.flags >> text.NAME_SHIFT & 3)]
    return names


def _names_by_appearance(
    speaker: NDArray[np.int64], names: dict[int, bytes]
) -> tuple[tuple[int, bytes], ...]:
    """A speaker's hash tells the words of the name, so any row of the speaker tells its terms."""
    known, first = np.unique(speaker, return_index=True)
    ordered = known[np.argsort(first)].tolist()
    return tuple((number, names[number]) for number in ordered if number)
