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
        if not len(added.vocabulary):
            return self
        place = np.searchsorted(self.vocabulary, added.vocabulary)
        known = np.zeros(len(place), dtype=np.bool_)
        inside = place < len(self.vocabulary)
        known[inside] = self.vocabulary[place[inside]] == added.vocabulary[inside]
        # A new posting goes to the end of its term's list, or where its new term sorts in.
        target = np.where(
            known,
            self.offsets[np.minimum(place + known, len(self.offsets) - 1)],
            self.offsets[place],
        )
        added_sizes = np.diff(added.offsets)
        where = np.repeat(target, added_sizes)
        sizes = np.diff(self.offsets)
        sizes[place[known]] += added_sizes[known]
        sizes = np.insert(sizes, place[~known], added_sizes[~known])
        return Postings(
            vocabulary=np.insert(self.vocabulary, place[~known], added.vocabulary[~known]),
            offsets=np.concatenate(((0,), np.cumsum(sizes))).astype(np.int64),
            rows=np.insert(self.rows, where, added.rows + first_row),
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


NO_POSTINGS: Final = Postings(
    np.empty(0, np.uint64), np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.int32)
)
