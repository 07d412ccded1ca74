"""The reference engine keeps every sentence of `ports.Vectors`; each has been seen to fail."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from holdfast.backends.memory.vectors import Engine, MemoryVectors
from holdfast.errors import SpaceMismatchError, ValidationError
from holdfast.model import ANY, Entity, Project, Space
from holdfast.ports import Match, Point, TermMatches
from holdfast.testing.contracts.values import SPACE
from holdfast.testing.contracts.vectors import MakeVectors, VectorsContract


def maker(kind: type[MemoryVectors]) -> MakeVectors:
    engine = Engine()
    return lambda collection="first": kind(engine, collection)


class TestMemoryVectors(VectorsContract):
    @pytest.fixture
    def make(self) -> MakeVectors:
        return maker(MemoryVectors)


class Broken(MemoryVectors):
    """Base of the engines with a fault."""

    def told(self, matches: list[Match]) -> list[Match]:
        """What is answered in place of the right list."""
        return matches

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        return self.told(await super().nearest(project, entity, vector, limit))

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        found = await super().holders(project, entity, terms, limit)
        return [replace(each, matches=tuple(self.told(list(each.matches)))) for each in found]


class WorstFirst(Broken):
    def told(self, matches: list[Match]) -> list[Match]:
        return matches[::-1]


class LeavesOneOut(Broken):
    def told(self, matches: list[Match]) -> list[Match]:
        return matches[:-1] if len(matches) > 20 else matches


class Distances(Broken):
    def told(self, matches: list[Match]) -> list[Match]:
        return [replace(match, score=1.0 - match.score) for match in matches]


class OneMore(Broken):
    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        return await super().nearest(project, entity, vector, limit + 1)


class KeepsTheFirst(Broken):
    async def put(self, project: Project, points: Sequence[Point]) -> None:
        known = self._held().points
        await super().put(project, [each for each in points if (project, each.id) not in known])


class KeepsOldTerms(Broken):
    async def put(self, project: Project, points: Sequence[Point]) -> None:
        known = self._held().points
        kept = [
            replace(each, terms=known[project, each.id].terms + each.terms)
            if (project, each.id) in known
            else each
            for each in points
        ]
        await super().put(project, kept)


class KeepsOldVectors(Broken):
    async def put(self, project: Project, points: Sequence[Point]) -> None:
        known = self._held().points
        kept = [
            replace(each, vector=known[project, each.id].vector)
            if each.vector is None and (project, each.id) in known
            else each
            for each in points
        ]
        await super().put(project, kept)


class RemovesOne(Broken):
    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        await super().remove(project, ids[:1])


class RemovesEverywhere(Broken):
    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        for owner in {owner for owner, _ in self._held().points}:
            await super().remove(owner, ids)


class RefusesUnknownIds(Broken):
    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        for id_ in ids:
            del self._held().points[project, id_]


class OneEntityEach(Broken):
    async def put(self, project: Project, points: Sequence[Point]) -> None:
        await super().put(project, [replace(p, entities=p.entities[:1]) for p in points])


class ForgetsTheKind(Broken):
    def _of(self, project: Project, entity: Entity) -> list[Point]:
        own = self._all(project)
        return [p for p in own if entity.id in {ANY, *(each.id for each in p.entities)}]


class StarIsAnId(Broken):
    def _of(self, project: Project, entity: Entity) -> list[Point]:
        return [p for p in self._all(project) if entity in p.entities]


class StarIsEveryone(Broken):
    def _of(self, project: Project, entity: Entity) -> list[Point]:
        return self._all(project) if entity.id == ANY else super()._of(project, entity)


class OneProject(Broken):
    def _all(self, project: Project) -> list[Point]:
        return list(self._held().points.values())


class FoldsIds(Broken):
    async def put(self, project: Project, points: Sequence[Point]) -> None:
        await super().put(project, [replace(p, id=p.id.strip().lower() or "_") for p in points])


class FoldsEntities(Broken):
    def _of(self, project: Project, entity: Entity) -> list[Point]:
        wanted = Entity(entity.kind, entity.id.strip())
        return super()._of(project, wanted)


class FoldsProjects(Broken):
    async def put(self, project: Project, points: Sequence[Point]) -> None:
        await super().put(Project(project.casefold().strip()), points)


class NeedsVectors(Broken):
    async def put(self, project: Project, points: Sequence[Point]) -> None:
        await super().put(project, [point for point in points if point.vector is not None])


class FirstAlternative(Broken):
    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        return await super().holders(project, entity, [each[:1] for each in terms], limit)


class ShortTerms(Broken):
    """Terms lose all but their last bits."""

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        cut = [
            replace(p, terms=(np.frombuffer(p.terms, "<u8") & np.uint64(0xFFFF)).tobytes())
            for p in points
        ]
        await super().put(project, cut)

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        short = [[term & 0xFFFF for term in each] for each in terms]
        return await super().holders(project, entity, short, limit)


class SignedTerms(Broken):
    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        signed = [[term for term in each if term < 2**63] for each in terms]
        return await super().holders(project, entity, signed, limit)


class EachWordOnce(Broken):
    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        return await super().holders(project, entity, list(dict.fromkeys(map(tuple, terms))), limit)


class OnlyKnownWords(Broken):
    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        return [
            each for each in await super().holders(project, entity, terms, limit) if each.matches
        ]


class CountsOnlyPresence(Broken):
    async def put(self, project: Project, points: Sequence[Point]) -> None:
        once = [
            replace(p, terms=np.unique(np.frombuffer(p.terms, "<u8")).tobytes()) for p in points
        ]
        await super().put(project, once)


class CountsWhatCame(Broken):
    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        found = await super().holders(project, entity, terms, limit)
        return [replace(each, rows=len(each.matches)) for each in found]


class PagesOverlap(Broken):
    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        page, cursor = await super().marks(project, after, size)
        return page, cursor if cursor is None or len(page) < 2 else f">{page[-2][0]}"


class PagesByOffset(Broken):
    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        start = int(after or 0)
        own = sorted(((p.id, p.mark) for p in self._all(project)), reverse=True)
        end = start + size
        return own[start:end], str(end) if end < len(own) else None


class OnePageOnly(Broken):
    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        return (await super().marks(project, after, size))[0], None


class RoundMarks(Broken):
    async def put(self, project: Project, points: Sequence[Point]) -> None:
        await super().put(project, [replace(p, mark=int(float(p.mark))) for p in points])


class CountsAbout(Broken):
    async def count(self, project: Project | None) -> int:
        return await super().count(project) // 10 * 10


class CountsEverything(Broken):
    async def count(self, project: Project | None) -> int:
        return await super().count(None)


class ClearsEverything(Broken):
    async def clear(self, project: Project | None) -> None:
        self._held().points.clear()


class ClearsNothing(Broken):
    async def clear(self, project: Project | None) -> None:
        self._alive()


class OneCollection(Broken):
    def __init__(self, engine: Engine, collection: str) -> None:
        super().__init__(engine, "all")


class NewAtEachOpen(Broken):
    async def open(self, space: Space) -> None:
        self._alive()
        self._engine.collections.pop(self._collection, None)
        await super().open(space)


class OfItsOwn(Broken):
    """Every object is a database of its own."""

    def __init__(self, engine: Engine, collection: str) -> None:
        super().__init__(Engine(), collection)


class TakesAnyLength(Broken):
    async def open(self, space: Space) -> None:
        with suppress(SpaceMismatchError):
            await super().open(space)


class TakesAnyNumber(Broken):
    async def put(self, project: Project, points: Sequence[Point]) -> None:
        with suppress(ValidationError):
            await super().put(project, points)


class AThousandAtOnce(Broken):
    async def put(self, project: Project, points: Sequence[Point]) -> None:
        await super().put(project, points[:1_000])


class StaysOpen(Broken):
    async def close(self) -> None:
        return


class ClosesOnce(Broken):
    async def close(self) -> None:
        self._alive()
        await super().close()


SENTENCES = [name for name in dir(VectorsContract) if name.startswith("test_")]
FAULTS = Broken.__subclasses__()


async def broken_by(kind: type[MemoryVectors]) -> set[str]:
    """The sentences an engine does not keep."""
    found = set()
    for name in SENTENCES:
        test = getattr(VectorsContract(), name)
        make = maker(kind)
        given: dict[str, Any] = {"make": make, "vectors": make()}
        try:
            if "vectors" in inspect.signature(test).parameters:
                await given["vectors"].open(SPACE)
            await test(**{k: given[k] for k in inspect.signature(test).parameters})
        except (Exception, pytest.fail.Exception):  # noqa: BLE001  (any failure is a failure)
            found.add(name)
    return found


async def test_planted_faults_are_caught_and_every_sentence_seen_to_fail() -> None:
    assert await broken_by(MemoryVectors) == set()
    caught = {kind.__name__: await broken_by(kind) for kind in FAULTS}
    assert [name for name, sentences in caught.items() if not sentences] == []
    assert set(SENTENCES) - set().union(*caught.values()) == set()
    assert len(FAULTS) >= len(SENTENCES)
