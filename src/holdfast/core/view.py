"""The working set of one entity: everything ranking needs, as arrays, in conversation order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.core import text
from holdfast.core.postings import NO_POSTINGS, Postings

SESSION_GAP_S: Final = 3 * 3600.0
"""A pause this long begins a new session where none is given."""

KINDS: Final = ("turn", "fact", "summary")
ROLES: Final = (None, "user", "assistant")
_TURN: Final = 0
_OTHER_ROLE: Final = len(ROLES)
USER: Final = ROLES.index("user")
ASSISTANT: Final = ROLES.index("assistant")

BM25_K1: Final = 0.9
BM25_B: Final = 0.75
"""Robertson and Zaragoza 2009; the constants were measured on chats (long messages need this b)."""


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


@dataclass(frozen=True, slots=True)
class Traits:
    """What rows are like, whatever is asked: float32 [n] each, 0 or 1 unless said otherwise.

    `asked`: the previous turn ends with a question. `length`: log(1 + words), over that of 100
    words, at most 1. `names`: log(1 + capitalised words inside a sentence).
    """

    time: NDArray[np.float32]
    question: NDArray[np.float32]
    asked: NDArray[np.float32]
    number: NDArray[np.float32]
    user: NDArray[np.float32]
    length: NDArray[np.float32]
    names: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EntityView:
    """An immutable working set. Rows are in conversation order: (event_time, seq).

    `previous`, `before_previous`, `next` [n]: rows of the neighbouring turns in the same session;
    n where there is none; a row that is no turn is its own neighbour.
    `segment` [n]: number of the session a row is in; `segment_starts`: first row of each.
    `saturation` [postings]: count / (count + k1 * (1 - b + b * length / average)): BM25 in 0..1.
    `month`, `day` [n]: UTC calendar of the event time.
    `name_terms`: term of a name -> hashes of the speakers who bear it.
    `languages`: bit set over LATIN_LANGUAGES of the languages the rows were taken for.
    """

    columns: Columns
    postings: Postings
    segment: NDArray[np.int32]
    segment_starts: NDArray[np.intp]
    previous: NDArray[np.intp]
    before_previous: NDArray[np.intp]
    next: NDArray[np.intp]
    saturation: NDArray[np.float32]
    traits: Traits
    month: NDArray[np.int8]
    day: NDArray[np.int8]
    name_terms: dict[int, tuple[int, ...]]
    languages: int
    has_assistant: bool

    @classmethod
    def build(cls, entries: Sequence[Entry], dimensions: int) -> EntityView:
        """The view of these entries, in any order. ValueError if a vector has other dimensions."""
        ordered = _in_order(entries)
        columns = _columns(ordered, dimensions)
        return _derive(columns, _postings(ordered, columns.lengths))

    def extended(self, entries: Sequence[Entry]) -> EntityView:
        """The view with these entries as well: the same as building anew, and much faster.

        ValueError if an entry sorts before the last row (see `accepts`).
        """
        if not entries:
            return self
        ordered = _in_order(entries)
        if not self.accepts(ordered[0]):
            raise ValueError("entries must sort after the rows of the view; build it anew")
        added = _columns(ordered, self.dimensions)
        columns = _joined(self.columns, added)
        postings = self.postings.extended(_postings(ordered, added.lengths), len(self))
        return _derive(columns, postings)

    def accepts(self, entry: Entry) -> bool:
        """Whether the entry sorts after every row, so that `extended` takes it."""
        if not len(self):
            return True
        last = (float(self.columns.event_time[-1]), int(self.columns.seq[-1]))
        return (entry.event_time, entry.seq) > last

    def __len__(self) -> int:
        return len(self.columns.ids)

    @property
    def ids(self) -> tuple[str, ...]:
        """Memory id of each row."""
        return self.columns.ids

    @property
    def dimensions(self) -> int:
        """Width of the vectors."""
        return int(self.columns.vectors.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, and an estimate for the ids."""
        arrays = (
            *(getattr(self.columns, name) for name in Columns.__slots__),
            *(getattr(self.postings, name) for name in Postings.__slots__),
            *(getattr(self.traits, name) for name in Traits.__slots__),
            *(getattr(self, name) for name in EntityView.__slots__),
        )
        return 120 * len(self) + sum(a.nbytes for a in arrays if isinstance(a, np.ndarray))


def _in_order(entries: Sequence[Entry]) -> Sequence[Entry]:
    keys = [(entry.event_time, entry.seq) for entry in entries]
    if all(a <= b for a, b in pairwise(keys)):
        return entries
    return [entries[i] for i in sorted(range(len(entries)), key=keys.__getitem__)]


def _postings(entries: Sequence[Entry], lengths: NDArray[np.int32]) -> Postings:
    if not entries:
        return NO_POSTINGS
    terms = np.frombuffer(b"".join([entry.terms for entry in entries]), dtype="<u8")
    return Postings.build(terms, lengths)


def _columns(entries: Sequence[Entry], dimensions: int) -> Columns:
    role_codes = {role: code for code, role in enumerate(ROLES)}
    kind_codes = {kind: code for code, kind in enumerate(KINDS)}
    return Columns(
        ids=tuple([entry.id for entry in entries]),
        sessions=tuple([entry.session for entry in entries]),
        seq=np.array([entry.seq for entry in entries], dtype=np.int64),
        event_time=np.array([entry.event_time for entry in entries], dtype=np.float64),
        valid_from=_times([entry.valid_from for entry in entries], -np.inf),
        valid_to=_times([entry.valid_to for entry in entries], np.inf),
        expires_at=_times([entry.expires_at for entry in entries], np.inf),
        vectors=_vectors([entry.vector for entry in entries], dimensions),
        flags=np.array([entry.flags for entry in entries], dtype=np.int64),
        words=np.array([entry.words for entry in entries], dtype=np.int32),
        speaker=np.array([entry.speaker for entry in entries], dtype=np.int64),
        role=np.array([role_codes.get(e.role, _OTHER_ROLE) for e in entries], dtype=np.int8),
        kind=np.array([kind_codes.get(e.kind, _TURN) for e in entries], dtype=np.int8),
        lengths=np.array([len(entry.terms) >> 3 for entry in entries], dtype=np.int32),
        names=tuple(_names(entries).items()),
    )


def _times(values: list[float | None], missing: float) -> NDArray[np.float64]:
    if not any(value is not None for value in values):
        return np.full(len(values), missing)
    return np.array([missing if value is None else value for value in values], dtype=np.float64)


def _vectors(vectors: list[bytes | None], dimensions: int) -> NDArray[np.float32]:
    width = 4 * dimensions
    zero = bytes(width)
    parts = [vector or zero for vector in vectors]
    if any(len(part) != width for part in parts):
        raise ValueError(f"a vector does not have {dimensions} dimensions")
    return np.frombuffer(b"".join(parts), dtype="<f4").reshape(len(parts), dimensions)


def _names(entries: Sequence[Entry]) -> dict[int, bytes]:
    """The terms of each speaker's name, from the first row of the speaker."""
    names: dict[int, bytes] = {}
    for entry in entries:
        if entry.speaker and entry.speaker not in names:
            names[entry.speaker] = entry.terms[: 8 * (entry.flags >> text.NAME_SHIFT & 3)]
    return names


def _joined(old: Columns, new: Columns) -> Columns:
    """Two sets of columns one after the other."""
    joined: dict[str, Any] = {}
    for name in Columns.__slots__:
        first, second = getattr(old, name), getattr(new, name)
        if isinstance(first, np.ndarray):
            joined[name] = np.concatenate((first, second))
        else:
            joined[name] = first + second
    known = {speaker for speaker, _ in old.names}
    joined["names"] = old.names + tuple(pair for pair in new.names if pair[0] not in known)
    return Columns(**joined)


def _derive(columns: Columns, postings: Postings) -> EntityView:
    """Everything that follows from the columns."""
    first = _segment_firsts(columns)
    segment = np.cumsum(first, dtype=np.int32) - 1
    before_previous, previous, following = _neighbours(columns.kind == _TURN, segment)
    month, day = _calendar(columns.event_time)
    codes = np.unique(columns.flags >> text.LANGUAGE_SHIFT & 0xFF) if len(columns.ids) else ()
    return EntityView(
        columns=columns,
        postings=postings,
        segment=segment,
        segment_starts=np.flatnonzero(first),
        previous=previous,
        before_previous=before_previous,
        next=following,
        saturation=_saturation(columns.lengths, postings),
        traits=_traits(columns, previous),
        month=month,
        day=day,
        name_terms=_name_terms(columns.names),
        languages=sum(1 << int(code) for code in codes),
        has_assistant=bool((columns.role == ASSISTANT).any()),
    )


def _segment_firsts(columns: Columns) -> NDArray[np.bool_]:
    """Where a session begins: another session id, or, without ids, a long pause."""
    codes: dict[str | None, int] = {None: -1}
    session = np.array([codes.setdefault(name, len(codes)) for name in columns.sessions], np.int32)
    first = np.ones(len(session), dtype=np.bool_)
    if len(session) > 1:
        pause = np.diff(columns.event_time) > SESSION_GAP_S
        first[1:] = (session[1:] != session[:-1]) | (pause & (session[1:] == -1))
    return first


def _neighbours(
    is_turn: NDArray[np.bool_], segment: NDArray[np.int32]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the turn before the previous, the previous and the next turn of each row."""
    rows = len(segment)
    turns = np.flatnonzero(is_turn)
    inside = segment[turns]
    found = []
    for step in (-2, -1, 1):
        neighbour = np.where(is_turn, rows, np.arange(rows))
        here = np.arange(max(0, -step), len(turns) - max(0, step))
        if len(here):
            same = here[inside[here] == inside[here + step]]
            neighbour[turns[same]] = turns[same + step]
        found.append(neighbour)
    return found[0], found[1], found[2]


def _saturation(lengths: NDArray[np.int32], postings: Postings) -> NDArray[np.float32]:
    average = max(1.0, float(lengths.sum(dtype=np.int64)) / max(1, len(lengths)))
    norm = (BM25_K1 * (1.0 - BM25_B + BM25_B / average * lengths)).astype(np.float32)
    counts = postings.counts.astype(np.float32)
    return counts / (counts + norm[postings.rows])


def _traits(columns: Columns, previous: NDArray[np.intp]) -> Traits:
    flags = columns.flags
    question = (flags & text.QUESTION != 0).astype(np.float32)
    length = np.log1p(columns.words.astype(np.float32)) / np.float32(np.log(101.0))
    return Traits(
        time=(flags & text.TIME != 0).astype(np.float32),
        question=question,
        asked=np.append(question, np.float32(0.0))[previous],
        number=(flags & text.NUMBER != 0).astype(np.float32),
        user=(columns.role == USER).astype(np.float32),
        length=np.minimum(length, np.float32(1.0)),
        names=np.log1p((flags >> text.NAMES_SHIFT & text.NAMES_MAX).astype(np.float32)),
    )


def _calendar(event_time: NDArray[np.float64]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    seconds = np.clip(event_time, -6e10, 2.5e11).astype("datetime64[s]")
    months = seconds.astype("datetime64[M]")
    day = (seconds.astype("datetime64[D]") - months).astype(np.int64) + 1
    return (months.astype(np.int64) % 12 + 1).astype(np.int8), day.astype(np.int8)


def _name_terms(names: tuple[tuple[int, bytes], ...]) -> dict[int, tuple[int, ...]]:
    bearers: dict[int, tuple[int, ...]] = {}
    for speaker, terms in names:
        for value in np.frombuffer(terms, dtype="<u8").tolist():
            bearers[value] = (*bearers.get(value, ()), speaker)
    return bearers
