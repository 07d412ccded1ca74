"""Comparing an external index with the records, and mending it; memory stays flat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from holdfast.limits import INDEX_BATCH
from holdfast.model import Project, Struct
from holdfast.ports import IndexSource, Point, Vectors

ROWS_AT_ONCE = 1_000_000
"""Points compared in one pass: 17 bytes of memory each."""

_PAGE = 1_000

Repair = Callable[[Vectors, Project, Sequence[str]], Awaitable[None]]
"""Gives an engine the current points of these memories, and takes away those that are gone."""


class Drift(Struct, frozen=True, kw_only=True):
    """How an index differs from the records."""

    memories: int = 0
    """In the records."""
    points: int = 0
    """In the index."""
    missing: int = 0
    """Memories the index lacks."""
    stale: int = 0
    """Points that are not those of their memories."""
    extra: int = 0
    """Points of memories that are gone."""

    @property
    def total(self) -> int:
        """Everything that is not as it should be."""
        return self.missing + self.stale + self.extra

    def plus(self, other: Drift) -> Drift:
        """Both together."""
        names = self.__struct_fields__
        return Drift(**{name: getattr(self, name) + getattr(other, name) for name in names})


async def compare(
    source: IndexSource,
    vectors: Vectors,
    project: Project,
    *,
    repair: Repair | None = None,
    told: Callable[[int], None] | None = None,
    space_no: int | None = None,
) -> Drift:
    """Compare every point of a project with its memory, and mend what differs.

    `space_no`: of the vectors that the index has; of the active space for None.

    Memories that are written meanwhile may be counted as differing. `told`: how many more memories
    were looked at.
    """
    points = await vectors.count(project)
    passes = max(1, -(-points // ROWS_AT_ONCE))
    total = Drift(points=points)
    for number in range(passes):
        some = await _Part.of(vectors, project, number, passes) if points else _Part.empty()
        pages = partial(_pages, source, project, space_no)
        differing = await _differences(source, vectors, project, some, repair, told, pages)
        total = total.plus(differing)
    return total


async def _differences(
    source: IndexSource,
    vectors: Vectors,
    project: Project,
    part: _Part,
    repair: Repair | None,
    told: Callable[[int], None] | None,
    pages: Callable[[], AsyncIterator[list[Point]]],
) -> Drift:
    """Of one part of all points, what differs."""
    memories = missing = stale = 0
    wrong: list[str] = []
    async for points in pages():
        for point in points:
            key = _key(point.id)
            if key % part.passes != part.number:
                continue
            memories += 1
            mark = part.take(key)
            missing += mark is None
            stale += mark not in (None, point.mark)
            if mark != point.mark:
                wrong.append(point.id)
        if repair is not None:
            wrong = await _mended(vectors, project, repair, wrong, INDEX_BATCH)
        else:
            wrong.clear()
        if told is not None and part.number == 0:
            told(len(points))
    if repair is not None:
        await _mended(vectors, project, repair, wrong, 1)
    extra = await _extra(source, vectors, project, part, repair)
    return Drift(memories=memories, missing=missing, stale=stale, extra=extra)


async def _mended(
    vectors: Vectors, project: Project, repair: Repair, wrong: list[str], least: int
) -> list[str]:
    """Mend batches while at least `least` ids wait; return the rest."""
    while len(wrong) >= least:
        await repair(vectors, project, wrong[:INDEX_BATCH])
        wrong = wrong[INDEX_BATCH:]
    return wrong


async def _extra(
    source: IndexSource, vectors: Vectors, project: Project, part: _Part, repair: Repair | None
) -> int:
    """Count, and remove, the points that no memory was found for."""
    left = part.left()
    if not left:
        return 0
    extra = 0
    async for page in _marks(vectors, project):
        ids = [id_ for id_, _ in page if _key(id_) in left]
        here = {point.id for point in await source.points(project, ids)} if ids else set()
        gone = [id_ for id_ in ids if id_ not in here]
        extra += len(gone)
        if gone and repair is not None:
            await repair(vectors, project, gone)
    return extra


class _Part:
    """The points whose key falls into one of several parts: sorted keys, marks, and which of them
    a memory was found for."""

    def __init__(
        self, number: int, passes: int, keys: NDArray[np.uint64], marks: NDArray[np.int64]
    ) -> None:
        order = np.argsort(keys)
        self.number, self.passes = number, passes
        self._keys, self._marks = keys[order], marks[order]
        self._taken = np.zeros(len(keys), dtype=np.bool_)

    @classmethod
    def empty(cls) -> _Part:
        """Of an index without points."""
        return cls(0, 1, np.empty(0, np.uint64), np.empty(0, np.int64))

    @classmethod
    async def of(cls, vectors: Vectors, project: Project, number: int, passes: int) -> _Part:
        """What the engine has of one part."""
        keys: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
        marks: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        async for page in _marks(vectors, project):
            found = np.array([_key(id_) for id_, _ in page], dtype=np.uint64)
            mine = found % np.uint64(passes) == number
            keys.append(found[mine])
            marks.append(np.array([mark for _, mark in page], dtype=np.int64)[mine])
        return cls(number, passes, np.concatenate(keys), np.concatenate(marks))

    def take(self, key: int) -> int | None:
        """The mark of a key, which a memory is found for; None if it is not there."""
        place = int(np.searchsorted(self._keys, np.uint64(key)))
        if place == len(self._keys) or int(self._keys[place]) != key:
            return None
        self._taken[place] = True
        return int(self._marks[place])

    def left(self) -> set[int]:
        """Keys that no memory was found for."""
        return set(self._keys[~self._taken].tolist())


async def _pages(
    source: IndexSource, project: Project, space_no: int | None
) -> AsyncIterator[list[Point]]:
    after: str | None = None
    while page := await source.point_page(project, after, _PAGE, space_no):
        yield page
        after = page[-1].id


async def _marks(vectors: Vectors, project: Project) -> AsyncIterator[list[tuple[str, int]]]:
    after: str | None = None
    while True:
        page, after = await vectors.marks(project, after, _PAGE)
        if page:
            yield page
        if after is None:
            return


def _key(id_: str) -> int:
    return int.from_bytes(blake2b(id_.encode(), digest_size=8).digest(), "little")
