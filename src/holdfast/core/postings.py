"""Inverted index of one entity: for each term the rows that have it, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Postings:
    """`vocabulary` [v]: sorted uint64 terms. The rows of term i are
    `rows[offsets[i]:offsets[i + 1]]`, ascending, with `counts` beside them.
    """

    vocabulary: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    rows: NDArray[np.int32]
    counts: NDArray[np.int32]

    @classmethod
    def build(cls, terms: NDArray[np.uint64], lengths: NDArray[np.int32]) -> Postings:
        """From the terms of all rows, one row after the other, `lengths` [n] of them in each."""
        if not len(terms):
            return NO_POSTINGS
        order = np.argsort(terms)
        ordered = terms[order]
        new_term = np.empty(len(ordered), dtype=np.bool_)
        new_term[0] = True
        np.not_equal(ordered[1:], ordered[:-1], out=new_term[1:])
        row_of = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
        # One integer per occurrence, (term number, row): faster than a stable argsort.
        pairs = (np.cumsum(new_term, dtype=np.int64) - 1 << 32) | row_of[order]
        pairs.sort()
        starts = np.flatnonzero(np.concatenate(((True,), pairs[1:] != pairs[:-1])))
        distinct = pairs[starts]
        term_starts = np.flatnonzero(np.concatenate(((True,), np.diff(distinct >> 32) != 0)))
        return cls(
            vocabulary=ordered[new_term].astype(np.uint64, copy=False),
            offsets=np.append(term_starts, len(distinct)).astype(np.int64),
            rows=(distinct & 0xFFFFFFFF).astype(np.int32),
            counts=np.diff(starts, append=len(pairs)).astype(np.int32),
        )

    def extended(self, added: Postings, first_row: int) -> Postings:
        """With the postings of more rows, numbered from `first_row` on, after all present ones."""
        place, known = self._places(added)
        # A new posting goes to the end of its term's list, or where its new term sorts in.
        target = self.offsets[np.minimum(place + known, len(self.offsets) - 1)]
        where = np.repeat(target, np.diff(added.offsets))
        return self._inserted(added, place, known, where, added.rows + np.int32(first_row))

    def merged(self, added: Postings, row_of: NDArray[np.intp]) -> Postings:
        """With the postings of more rows; `row_of`: the number here of each row there, ascending,
        and none that has postings here."""
        place, known = self._places(added)
        sizes = np.diff(added.offsets)
        rows = row_of[added.rows].astype(np.int32)
        # One integer per posting, (term number, row), ascending; a new term's come before those of
        # the term it sorts before.
        present = np.repeat(np.arange(len(self.vocabulary)) << 32, np.diff(self.offsets))
        wanted = np.repeat(place << 32, sizes) + rows * np.repeat(known, sizes)
        where = np.searchsorted(present + self.rows, wanted)
        return self._inserted(added, place, known, where, rows)

    def renumbered(self, new_row: NDArray[np.int32]) -> Postings:
        """With row r called `new_row[r]`; without the rows where that is -1. The order of the rows
        must stay."""
        if not len(self.vocabulary):
            return self
        rows = new_row[self.rows]
        kept = rows >= 0
        if kept.all():
            return Postings(self.vocabulary, self.offsets, rows, self.counts)
        sizes = np.add.reduceat(kept, self.offsets[:-1], dtype=np.int64)
        alive = sizes > 0
        return Postings(
            vocabulary=self.vocabulary[alive],
            offsets=_offsets(sizes[alive]),
            rows=rows[kept],
            counts=self.counts[kept],
        )

    def _places(self, added: Postings) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Where each added term is in the vocabulary or sorts in, and whether it is there."""
        place = np.searchsorted(self.vocabulary, added.vocabulary)
        known = np.zeros(len(place), dtype=np.bool_)
        inside = place < len(self.vocabulary)
        known[inside] = self.vocabulary[place[inside]] == added.vocabulary[inside]
        return place, known

    def _inserted(
        self,
        added: Postings,
        place: NDArray[np.intp],
        known: NDArray[np.bool_],
        where: NDArray[np.intp],
        rows: NDArray[np.int32],
    ) -> Postings:
        """With the added postings, called `rows`, each before the present one `where` says."""
        if not len(added.vocabulary):
            return self
        added_sizes = np.diff(added.offsets)
        sizes = np.diff(self.offsets)
        sizes[place[known]] += added_sizes[known]
        sizes = np.insert(sizes, place[~known], added_sizes[~known])
        return Postings(
            vocabulary=np.insert(self.vocabulary, place[~known], added.vocabulary[~known]),
            offsets=_offsets(sizes),
            rows=np.insert(self.rows, where, rows),
            counts=np.insert(self.counts, where, added.counts),
        )

    def find(self, terms: NDArray[np.uint64]) -> tuple[list[int], list[int]]:
        """Where the postings of each term begin and end; nowhere (0, 0) for a term of no row."""
        if not len(self.vocabulary):
            return [0] * len(terms), [0] * len(terms)
        place = np.searchsorted(self.vocabulary, terms)
        np.minimum(place, len(self.vocabulary) - 1, out=place)
        known = self.vocabulary[place] == terms
        return (self.offsets[place] * known).tolist(), (self.offsets[place + 1] * known).tolist()


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(((0,), np.cumsum(sizes))).astype(np.int64)


NO_POSTINGS: Final = Postings(
    np.empty(0, np.uint64), np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.int32)
)
