"""The working set of one entity: everything ranking needs, as arrays, in conversation order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.core import text
from holdfast.core.columns import ASSISTANT, TURN, USER, Columns, Entry, in_order
from holdfast.core.population import rarities_of
from holdfast.core.postings import NO_POSTINGS, Postings

__all__ = ["BM25_B", "BM25_K1", "SESSION_GAP_S", "Columns", "EntityView", "Entry", "Traits"]

SESSION_GAP_S: Final = 3 * 3600.0
"""A pause this long begins a new session where none is given."""

BM25_K1: Final = 0.9
BM25_B: Final = 0.75
"""Robertson and Zaragoza 2009; the constants were measured on chats (long messages need this b)."""

STEADY: Final = ("question", "told", "length", "before", "names", "news", "information", "user")
"""Traits that count in every question; signals of these names.

`question`: the row ends with one: it asks rather than tells. `told`: the speaker talks about
themselves. `length`: log(1 + words), over that of 100 words, at most 1. `before`: that of the
previous turn. `names`: log(1 + capitalised words inside a sentence), people, places or works.
`news`: log(1 + words that no earlier row has). `information`: log(1 + the sum of the rarities of
its words). `user`: in chats with an assistant, the user speaks.
"""
_TOLD: Final = STEADY.index("told")


@dataclass(frozen=True, slots=True)
class Traits:
    """What rows are like, whatever is asked: float32, 0 or 1 unless said otherwise.

    `time`, `number` [n]: it has one. `asked` [n]: the previous turn ends with a question.
    `steady` [STEADY, n]: those that count in every question, in one block, for they are copied.
    """

    time: NDArray[np.float32]
    number: NDArray[np.float32]
    asked: NDArray[np.float32]
    steady: NDArray[np.float32]

    @property
    def told(self) -> NDArray[np.float32]:
        """[n]: the speaker talks about themselves."""
        return np.asarray(self.steady[_TOLD])


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
        ordered = in_order(entries)
        columns = Columns.of(ordered, dimensions)
        return _derive(columns, _postings(ordered, columns.lengths), _segment_firsts(columns))

    def extended(self, entries: Sequence[Entry]) -> EntityView:
        """The view with these entries as well: the same as building anew, and much faster.

        ValueError if an entry sorts before the last row (see `accepts`).
        """
        if not entries:
            return self
        ordered = in_order(entries)
        if not self.accepts(ordered[0]):
            raise ValueError("entries must sort after the rows of the view; build it anew")
        added = Columns.of(ordered, self.dimensions)
        columns = self.columns.extended(added)
        postings = self.postings.extended(_postings(ordered, added.lengths), len(self))
        first = np.zeros(len(columns.ids), dtype=np.bool_)
        first[self.segment_starts] = True
        overlap = max(0, len(self) - 1)
        first[len(self) :] = _segment_firsts(columns, overlap)[len(self) - overlap :]
        return _derive(columns, postings, first)

    def changed(self, removed: Collection[str], entries: Sequence[Entry]) -> EntityView:
        """The view without the rows of these ids and of those of `entries`, then with `entries`.

        The same as building anew, and much faster; the new rows may belong anywhere.
        ValueError if a vector has other dimensions.
        """
        gone = {*removed, *(entry.id for entry in entries)}
        rows = len(self)
        kept = np.fromiter((id_ not in gone for id_ in self.ids), np.bool_, rows)
        keep = np.flatnonzero(kept)
        ordered = in_order(entries)
        added = Columns.of(ordered, self.dimensions)
        place = _places(self.columns, keep, added)
        at = place + np.arange(len(place))
        source = np.insert(keep, place, np.arange(rows, rows + len(place)))
        columns = self.columns.merged(added, source)
        is_old = np.ones(len(columns.ids), dtype=np.bool_)
        is_old[at] = False
        new_row = np.full(rows, -1, dtype=np.int32)
        new_row[keep] = np.flatnonzero(is_old)
        postings = self.postings.renumbered(new_row).merged(_postings(ordered, added.lengths), at)
        return _derive(columns, postings, self._firsts(columns, source))

    def _firsts(self, columns: Columns, source: NDArray[np.intp]) -> NDArray[np.bool_]:
        """`_segment_firsts` of changed columns: as before where a row follows the same row."""
        before = np.zeros(len(self), dtype=np.bool_)
        before[self.segment_starts] = True
        first = np.ones(len(source), dtype=np.bool_)
        same = (source[1:] == source[:-1] + 1) & (source[1:] < len(self))
        first[1:][same] = before[source[1:][same]]
        for row in (np.flatnonzero(~same) + 1).tolist():
            first[row] = _begins(columns, row)
        return first

    def saturated(self, average: float) -> NDArray[np.float32]:
        """`saturation` as it is where rows have so many terms on average."""
        return _saturation(self.columns.lengths, self.postings, average)

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
            *(getattr(self.columns, name) for name in Columns.__slots__ if name != "vectors"),
            self.columns.room.whole,
            *(getattr(self.postings, name) for name in Postings.__slots__),
            *(getattr(self.traits, name) for name in Traits.__slots__),
            *(getattr(self, name) for name in EntityView.__slots__),
        )
        return 120 * len(self) + sum(a.nbytes for a in arrays if isinstance(a, np.ndarray))


def _postings(entries: Sequence[Entry], lengths: NDArray[np.int32]) -> Postings:
    if not entries:
        return NO_POSTINGS
    terms = np.frombuffer(b"".join([entry.terms for entry in entries]), dtype="<u8")
    return Postings.build(terms, lengths)


def _places(columns: Columns, keep: NDArray[np.intp], added: Columns) -> NDArray[np.intp]:
    """Before which of the kept rows each added one belongs."""
    times, seq = columns.event_time[keep], columns.seq[keep]
    place = np.searchsorted(times, added.event_time)
    until = np.searchsorted(times, added.event_time, side="right")
    for number in np.flatnonzero(until > place).tolist():
        same = seq[place[number] : until[number]]
        place[number] += np.searchsorted(same, added.seq[number])
    return place


def _derive(columns: Columns, postings: Postings, first: NDArray[np.bool_]) -> EntityView:
    """Everything that follows from the columns. `first` [n]: a segment begins at the row."""
    segment = np.cumsum(first, dtype=np.int32) - 1
    before_previous, previous, following = _neighbours(columns.kind == TURN, segment)
    month, day = _calendar(columns.event_time)
    average = float(columns.lengths.sum(dtype=np.int64)) / max(1, len(columns.lengths))
    codes = np.flatnonzero(np.bincount(columns.flags >> text.LANGUAGE_SHIFT & 0xFF))
    return EntityView(
        columns=columns,
        postings=postings,
        segment=segment,
        segment_starts=np.flatnonzero(first),
        previous=previous,
        before_previous=before_previous,
        next=following,
        saturation=_saturation(columns.lengths, postings, average),
        traits=_traits(columns, postings, previous),
        month=month,
        day=day,
        name_terms=_name_terms(columns.names),
        languages=sum(1 << int(code) for code in codes),
        has_assistant=bool((columns.role == ASSISTANT).any()),
    )


def _segment_firsts(columns: Columns, start: int = 0) -> NDArray[np.bool_]:
    """Of the rows from `start` on, where a session begins: another session id, or, without ids, a
    long pause. True for row `start`."""
    codes: dict[str | None, int] = {None: -1}
    sessions = columns.sessions[start:]
    session = np.array([codes.setdefault(name, len(codes)) for name in sessions], np.int32)
    first = np.ones(len(session), dtype=np.bool_)
    if len(session) > 1:
        pause = np.diff(columns.event_time[start:]) > SESSION_GAP_S
        first[1:] = (session[1:] != session[:-1]) | (pause & (session[1:] == -1))
    return first


def _begins(columns: Columns, row: int) -> bool:
    """Whether a session begins at a row that is not the first."""
    session = columns.sessions[row]
    if session is not None or columns.sessions[row - 1] is not None:
        return session != columns.sessions[row - 1]
    return bool(columns.event_time[row] - columns.event_time[row - 1] > SESSION_GAP_S)


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


def _saturation(
    lengths: NDArray[np.int32], postings: Postings, average: float
) -> NDArray[np.float32]:
    share = BM25_B / max(1.0, average)
    norm = (BM25_K1 * (1.0 - BM25_B + share * lengths)).astype(np.float32)
    counts = postings.counts.astype(np.float32)
    return counts / (counts + norm[postings.rows])


def _traits(columns: Columns, postings: Postings, previous: NDArray[np.intp]) -> Traits:
    flags, rows = columns.flags, len(columns.ids)
    length = np.log1p(columns.words.astype(np.float32)) / np.float32(np.log(101.0))
    np.minimum(length, np.float32(1.0), out=length)
    news, information = _told_anew(postings, rows)
    traits = {
        "question": flags & text.QUESTION != 0,
        "told": flags & text.FIRST_PERSON != 0,
        "length": length,
        "before": np.append(length, np.float32(0.0))[previous],
        "names": np.log1p(flags >> text.NAMES_SHIFT & text.NAMES_MAX),
        "news": np.log1p(news),
        "information": np.log1p(information),
        "user": columns.role == USER,
    }
    steady = np.empty((len(STEADY), rows), dtype=np.float32)
    for number, name in enumerate(STEADY):
        steady[number] = traits[name]
    return Traits(
        time=(flags & text.TIME != 0).astype(np.float32),
        number=(flags & text.NUMBER != 0).astype(np.float32),
        asked=np.append(steady[STEADY.index("question")], np.float32(0.0))[previous],
        steady=steady,
    )


def _told_anew(postings: Postings, rows: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """[n] each: words that no earlier row has; the sum of the rarities of all words."""
    frequency = np.diff(postings.offsets)
    each = np.repeat(rarities_of(frequency, rows), frequency)
    information = np.bincount(postings.rows, each, minlength=rows).astype(np.float64)
    return np.bincount(postings.rows[postings.offsets[:-1]], minlength=rows), information


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
