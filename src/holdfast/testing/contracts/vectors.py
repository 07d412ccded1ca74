"""The contract of `ports.Vectors`, sentence by sentence."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import numpy as np
import pytest

from holdfast.errors import ClosedError, HoldfastError, SpaceMismatchError
from holdfast.model import ANY, Entity, Project, Space
from holdfast.ports import Match, Point, Vectors
from holdfast.testing.contracts.values import ALICE, BLUE, BOB, RED, SPACE
from holdfast.testing.hostile import STORABLE

MakeVectors = Callable[..., Vectors]
"""`make()` gives a new, unopened handle on one collection, which is not there at first; as another
process would have. `make("other")` one on another collection of the same engine."""

EAST, NORTH = (1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0)
LARGEST = 2**64 - 1
HOSTILE = tuple(text for text in STORABLE if 0 < len(text) <= 255)
AGENT, RUN = Entity("agent", "alice"), Entity("run", "r")
COSINE_ERROR = 0.01
"""Engines may keep vectors in fewer bits."""


def point(
    id_: str,
    direction: Sequence[float] | None = EAST,
    terms: Sequence[int] = (7,),
    *,
    entities: Sequence[Entity] = (ALICE,),
    mark: int = 1,
) -> Point:
    """A point of Alice's that points east and has the word 7."""
    return Point(
        id=id_,
        entities=tuple(entities),
        vector=None if direction is None else struct.pack("<4f", *direction),
        terms=struct.pack(f"<{len(terms)}Q", *terms),
        mark=mark,
    )


async def near(
    vectors: Vectors,
    entity: Entity = ALICE,
    project: Project = RED,
    limit: int = 100,
    direction: Sequence[float] = EAST,
) -> list[Match]:
    """What lies nearest to a direction."""
    return await vectors.nearest(project, entity, np.array(direction, np.float32), limit)


async def having(
    vectors: Vectors,
    *alternatives: int,
    entity: Entity = ALICE,
    project: Project = RED,
    limit: int = 100,
) -> list[str]:
    """The ids of the points that have a word."""
    (found,) = await vectors.holders(project, entity, [alternatives], limit)
    return [match.id for match in found.matches]


async def marks(vectors: Vectors, project: Project = RED, size: int = 100) -> dict[str, int]:
    """All marks, page by page; each id must come once."""
    found: list[tuple[str, int]] = []
    after: str | None = None
    for _ in range(1_000):
        page, after = await vectors.marks(project, after, size)
        found += page
        if after is None:
            assert len(dict(found)) == len(found), "an id came twice"
            return dict(found)
    raise AssertionError("the pages have no end")


def ids(matches: Sequence[Match]) -> set[str]:
    """Of matches, whatever their order."""
    return {match.id for match in matches}


class VectorsContract:
    """Override the fixture `make`, with a collection of its own for each test."""

    @pytest.fixture
    def make(self) -> MakeVectors:
        """A function that gives a handle on a collection; see `MakeVectors`."""
        return pytest.fail("override the fixture `make` with one that makes your engine")

    @pytest.fixture
    async def vectors(self, make: MakeVectors) -> AsyncIterator[Vectors]:
        """A handle that is open."""
        made = make()
        await made.open(SPACE)
        yield made
        await made.close()

    async def test_a_point_is_found_by_its_vector_and_by_its_words(self, vectors: Vectors) -> None:
        await stored(vectors, point("a", EAST, [1, 2, 2]), point("b", NORTH, [3]))
        assert (await near(vectors))[0].id == "a"
        assert (await near(vectors, direction=NORTH))[0].id == "b"
        assert await having(vectors, 2) == ["a"]
        assert await having(vectors, 3) == ["b"]
        assert await having(vectors, 4) == []

    async def test_the_name_says_which_collection(self, make: MakeVectors) -> None:
        first, other = make(), make("other")
        assert first.name
        assert first.name == make().name
        assert first.name != other.name

    async def test_the_nearest_come_first_with_their_cosine(self, vectors: Vectors) -> None:
        angles = np.linspace(0.1, 3.0, 24)
        points = [
            point(f"m{n}", (float(np.cos(a)), float(np.sin(a)), 0.0, 0.0))
            for n, a in enumerate(angles)
        ]
        await stored(vectors, *points[1::2], *points[::2])
        found = await near(vectors)
        assert [match.id for match in found] == [f"m{n}" for n in range(24)]
        cosines = [match.score for match in found]
        assert np.allclose(cosines, np.cos(angles), atol=COSINE_ERROR)
        assert [match.id for match in await near(vectors, limit=5)] == [f"m{n}" for n in range(5)]
        assert await near(vectors, limit=0) == []

    async def test_a_point_is_replaced_by_one_with_its_id(self, vectors: Vectors) -> None:
        await stored(vectors, point("a", EAST, [1], entities=[ALICE], mark=1))
        await stored(vectors, point("a", NORTH, [2], entities=[BOB], mark=2))
        assert await near(vectors) == []
        assert await having(vectors, 1) == await having(vectors, 2) == []
        (match,) = await near(vectors, BOB)
        assert match.id == "a"
        assert abs(match.score) <= COSINE_ERROR
        assert await having(vectors, 2, entity=BOB) == ["a"]
        assert await having(vectors, 1, entity=BOB) == []
        assert await marks(vectors) == {"a": 2}
        assert await vectors.count(RED) == 1
        await stored(vectors, point("a", None, [], entities=[BOB], mark=3))
        assert await having(vectors, 2, entity=BOB) == []
        found = await near(vectors, BOB, direction=NORTH)
        assert all(match.score <= COSINE_ERROR for match in found)
        assert await marks(vectors) == {"a": 3}

    async def test_what_is_removed_is_gone_and_the_unknown_is_passed_over(
        self, vectors: Vectors
    ) -> None:
        await stored(vectors, point("a"), point("b"), point("c"))
        await vectors.remove(RED, ["b", "nobody", "c"])
        await vectors.remove(RED, [])
        await settle(vectors)
        assert ids(await near(vectors)) == {"a"}
        assert await having(vectors, 7) == ["a"]
        assert await marks(vectors) == {"a": 1}
        assert await vectors.count(RED) == 1

    async def test_a_point_belongs_to_each_of_its_entities(self, vectors: Vectors) -> None:
        everyone = [ALICE, Entity("agent", "x"), Entity("app", "y"), RUN]
        await stored(vectors, point("a", entities=everyone), point("b", entities=[AGENT, RUN]))
        wanted = {ALICE: {"a"}, everyone[1]: {"a"}, everyone[2]: {"a"}, RUN: {"a", "b"}}
        for entity, expected in {**wanted, AGENT: {"b"}, BOB: set()}.items():
            assert ids(await near(vectors, entity)) == expected, entity
            assert set(await having(vectors, 7, entity=entity)) == expected, entity

    async def test_a_star_means_all_that_have_one_of_the_kind(self, vectors: Vectors) -> None:
        await stored(
            vectors,
            point("a", entities=[ALICE, RUN]),
            point("b", entities=[BOB]),
            point("c", entities=[AGENT]),
        )
        for kind, expected in {
            "user": {"a", "b"},
            "agent": {"c"},
            "run": {"a"},
            "app": set(),
        }.items():
            entity = Entity(kind, ANY)  # type: ignore[arg-type]
            assert ids(await near(vectors, entity)) == expected, kind
            assert set(await having(vectors, 7, entity=entity)) == expected, kind

    async def test_projects_find_nothing_of_each_other(self, vectors: Vectors) -> None:
        await stored(vectors, point("same", EAST, [1], mark=1), point("red"))
        await stored(vectors, point("same", NORTH, [2], mark=2), point("blue"), project=BLUE)
        assert ids(await near(vectors)) == {"same", "red"}
        assert ids(await near(vectors, project=BLUE)) == {"same", "blue"}
        assert await having(vectors, 1) == ["same"]
        assert await having(vectors, 1, project=BLUE) == []
        assert await having(vectors, 2, entity=Entity("user", ANY), project=BLUE) == ["same"]
        assert await marks(vectors) == {"same": 1, "red": 1}
        assert await marks(vectors, BLUE) == {"same": 2, "blue": 1}
        await vectors.remove(BLUE, ["red", "same"])
        await settle(vectors)
        assert ids(await near(vectors)) == {"same", "red"}
        assert ids(await near(vectors, project=BLUE)) == {"blue"}

    async def test_hostile_ids_are_ids_like_any_other(self, vectors: Vectors) -> None:
        points = [
            point(id_, EAST, [number + 1], entities=[Entity("user", id_), RUN], mark=number)
            for number, id_ in enumerate(HOSTILE)
        ]
        await stored(vectors, *points)
        assert await marks(vectors, size=7) == {id_: n for n, id_ in enumerate(HOSTILE)}
        for number, id_ in enumerate(HOSTILE):
            entity = Entity("user", id_)
            if id_ != ANY:
                assert ids(await near(vectors, entity)) == {id_}
                assert await having(vectors, number + 1, entity=entity) == [id_]
            assert await having(vectors, number + 1, entity=RUN) == [id_]
        await vectors.remove(RED, HOSTILE[1:])
        await settle(vectors)
        assert await marks(vectors) == {HOSTILE[0]: 0}

    async def test_hostile_projects_are_projects_like_any_other(self, vectors: Vectors) -> None:
        for number, name in enumerate(HOSTILE):
            await vectors.put(Project(name), [point("a", terms=[number + 1], mark=number)])
        await settle(vectors)
        assert await vectors.count(None) == len(HOSTILE)
        for number, name in enumerate(HOSTILE):
            assert await marks(vectors, Project(name)) == {"a": number}
            assert await having(vectors, number + 1, project=Project(name)) == ["a"]
        await vectors.clear(Project(HOSTILE[0]))
        await settle(vectors)
        assert await vectors.count(None) == len(HOSTILE) - 1

    async def test_points_without_a_vector_are_found_by_their_words(self, vectors: Vectors) -> None:
        await stored(vectors, point("a"), point("none", None), point("zero", (0.0,) * 4))
        found = {match.id: match.score for match in await near(vectors)}
        assert found["a"] > 1.0 - COSINE_ERROR
        assert all(abs(score) <= COSINE_ERROR for id_, score in found.items() if id_ != "a")
        assert set(await having(vectors, 7)) == {"a", "none", "zero"}
        assert set(await marks(vectors)) == {"a", "none", "zero"}
        assert await vectors.count(RED) == 3
        await stored(vectors, point("none", EAST))
        assert "none" in ids(await near(vectors))

    async def test_a_word_is_any_of_its_alternatives(self, vectors: Vectors) -> None:
        await stored(
            vectors,
            point("one", terms=[1, 9]),
            point("two", terms=[2]),
            point("both", terms=[1, 2]),
            point("other", terms=[3]),
            point("silent", terms=[]),
        )
        assert set(await having(vectors, 1, 2)) == {"one", "two", "both"}
        assert set(await having(vectors, 2, 5)) == {"two", "both"}
        assert await having(vectors, 5, 6) == []

    async def test_terms_use_all_their_bits(self, vectors: Vectors) -> None:
        terms = [0, 1, 2**31, 2**32, 2**32 + 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, LARGEST]
        await stored(vectors, *(point(f"t{n}", terms=[term]) for n, term in enumerate(terms)))
        for number, term in enumerate(terms):
            found = await having(vectors, term)
            assert f"t{number}" in found, term
            assert len(found) <= 3, "an engine with short numbers for words may let a few meet"

    async def test_every_word_is_answered_in_the_order_asked(self, vectors: Vectors) -> None:
        await stored(vectors, point("a", terms=[1, 2]), point("b", terms=[2, 3]))
        asked = [(3,), (1,), (8, 9), (2,), (3,)]
        found = await vectors.holders(RED, ALICE, asked, 10)
        assert [ids(each.matches) for each in found] == [{"b"}, {"a"}, set(), {"a", "b"}, {"b"}]
        assert await vectors.holders(RED, ALICE, [], 10) == []
        assert [each.matches for each in await vectors.holders(RED, BOB, asked, 10)] == [()] * 5

    async def test_all_come_if_there_are_no_more_than_the_limit(self, vectors: Vectors) -> None:
        await stored(vectors, *(point(f"m{n}", terms=[7] * (n % 5 + 1)) for n in range(30)))
        for limit in (30, 31, 64):
            assert len(set(await having(vectors, 7, limit=limit))) == 30
        for limit in (1, 29):
            assert len(set(await having(vectors, 7, limit=limit))) == limit
        assert len(await near(vectors, limit=30)) == 30

    async def test_those_that_say_most_of_a_word_come_first(self, vectors: Vectors) -> None:
        counts = [3, 1, 5, 2, 4]
        words = [[7] * count + list(range(100, 120)) for count in counts]
        await stored(vectors, *(point(f"m{n}", terms=each) for n, each in enumerate(words)))
        assert await having(vectors, 7) == ["m2", "m4", "m0", "m3", "m1"]
        assert await having(vectors, 7, limit=2) == ["m2", "m4"]
        # of two that say it as often, the shorter one
        await stored(
            vectors, point("long", terms=[8, *range(200, 240)]), point("short", terms=[8, 1])
        )
        assert await having(vectors, 8) == ["short", "long"]
        (found,) = await vectors.holders(RED, ALICE, [(7,)], 10)
        scores = [match.score for match in found.matches]
        assert scores == sorted(scores, reverse=True)

    async def test_rows_are_exact_if_told(self, vectors: Vectors) -> None:
        await stored(
            vectors,
            *(point(f"m{n}", terms=[1, 2] if n % 3 else [1]) for n in range(12)),
            *(point(f"b{n}", terms=[1, 2, 3], entities=[BOB, RUN]) for n in range(5)),
        )
        await stored(vectors, point("m0", terms=[3]), point("m1", terms=[3, 3]))
        for words, rows in {(1,): 10, (2,): 7, (3,): 2, (1, 3): 12, (4,): 0}.items():
            (found,) = await vectors.holders(RED, ALICE, [words], 3)
            assert found.rows in (None, rows), words
        (found,) = await vectors.holders(RED, Entity("user", ANY), [(1,)], 3)
        assert found.rows in (None, 15)

    async def test_marks_come_once_each_whatever_the_page(self, vectors: Vectors) -> None:
        wanted = {f"m{n:02}": n * (2**63 - 1) // 40 for n in range(41)}
        await stored(vectors, *(point(id_, mark=mark) for id_, mark in wanted.items()))
        for size in (1, 7, 41, 100):
            assert await marks(vectors, size=size) == wanted
        assert await vectors.marks(BLUE, None, 10) == ([], None)

    async def test_marks_of_what_stays_come_once_while_others_change(
        self, vectors: Vectors
    ) -> None:
        await stored(vectors, *(point(f"m{n:02}") for n in range(40)))
        found: list[str] = []
        after: str | None = None
        for page_number in range(100):
            page, after = await vectors.marks(RED, after, 6)
            found += [id_ for id_, _ in page]
            gone = [id_ for id_ in (f"m{39 - page_number:02}",) if page_number < 3]
            await vectors.remove(RED, gone)
            await stored(vectors, point(f"new{page_number}"))
            if after is None or page_number > 50:
                break
        stayed = {f"m{n:02}" for n in range(37)}
        assert sorted(id_ for id_ in found if id_ in stayed) == sorted(stayed)

    async def test_counts_are_exact(self, vectors: Vectors) -> None:
        assert await vectors.count(RED) == await vectors.count(None) == 0
        await stored(vectors, *(point(f"m{n}") for n in range(300)))
        await stored(vectors, *(point(f"m{n}") for n in range(40)), project=BLUE)
        await stored(vectors, *(point(f"m{n}", NORTH) for n in range(10)))
        await vectors.remove(RED, [f"m{n}" for n in range(5)])
        await settle(vectors)
        assert await vectors.count(RED) == 295
        assert await vectors.count(BLUE) == 40
        assert await vectors.count(None) == 335

    async def test_clear_forgets_a_project_and_no_other(self, vectors: Vectors) -> None:
        await stored(vectors, point("a"), point("b"))
        await stored(vectors, point("a"), project=BLUE)
        await vectors.clear(RED)
        await settle(vectors)
        assert await near(vectors) == []
        assert await having(vectors, 7) == []
        assert await marks(vectors) == {}
        assert await vectors.count(RED) == 0
        assert await marks(vectors, BLUE) == {"a": 1}
        await vectors.clear(RED)
        await stored(vectors, point("c"))
        assert ids(await near(vectors)) == {"c"}

    async def test_a_dropped_collection_is_made_anew_by_open(self, make: MakeVectors) -> None:
        vectors, other = make(), make("other")
        for each in (vectors, other):
            await each.open(SPACE)
            await stored(each, point("a"), point("b"))
        await vectors.clear(None)
        again = make()
        await again.open(SPACE)
        await settle(again)
        assert await again.count(None) == 0
        assert await near(again) == []
        await stored(again, point("c"))
        assert ids(await near(again)) == {"c"}
        assert await other.count(None) == 2
        for each in (vectors, other, again):
            await each.close()

    async def test_collections_find_nothing_of_each_other(self, make: MakeVectors) -> None:
        vectors, other = make(), make("other")
        for each in (vectors, other):
            await each.open(SPACE)
        await stored(vectors, point("a", mark=1))
        await stored(other, point("a", mark=2), point("b"))
        assert await marks(vectors) == {"a": 1}
        assert ids(await near(vectors)) == {"a"}
        assert set(await having(other, 7)) == {"a", "b"}
        for each in (vectors, other):
            await each.close()

    async def test_another_process_finds_what_was_put(self, make: MakeVectors) -> None:
        first, second = make(), make()
        await asyncio.gather(first.open(SPACE), second.open(SPACE))
        await second.open(SPACE)
        await stored(first, point("a"))
        assert ids(await near(second)) == {"a"}
        await stored(second, point("b", NORTH))
        assert await having(first, 7) != []
        assert ids(await near(first)) == {"a", "b"}
        await second.remove(RED, ["a"])
        await second.close()
        await settle(first)
        assert ids(await near(first)) == {"b"}
        third = make()
        await third.open(SPACE)
        assert await third.count(RED) == 1
        for each in (first, third):
            await each.close()

    async def test_vectors_of_another_length_are_refused(self, make: MakeVectors) -> None:
        vectors = make()
        await vectors.open(SPACE)
        await stored(vectors, point("a"))
        with pytest.raises(SpaceMismatchError):
            await vectors.put(
                RED, [Point(id="b", entities=(ALICE,), vector=b"1234", terms=b"", mark=1)]
            )
        wide = make()
        with pytest.raises(SpaceMismatchError):
            await wide.open(Space(provider="tests", model="wide", dimensions=5))
        assert await marks(vectors) == {"a": 1}
        for each in (vectors, wide):
            await each.close()

    async def test_numbers_that_are_none_are_refused(self, vectors: Vectors) -> None:
        for odd in (float("nan"), float("inf")):
            with pytest.raises(HoldfastError) as caught:
                await vectors.put(RED, [point("a", (odd, 0.0, 0.0, 0.0))])
            assert not caught.value.retryable
        await settle(vectors)
        assert await vectors.count(RED) == 0
        await stored(vectors, point("a"))
        assert ids(await near(vectors)) == {"a"}

    async def test_many_points_go_in_one_call(self, vectors: Vectors) -> None:
        wanted = {f"m{n}": n for n in range(1_200)}
        await stored(vectors, *(point(id_, None, [n], mark=n) for id_, n in wanted.items()))
        assert await marks(vectors, size=500) == wanted
        await vectors.remove(RED, list(wanted)[1:])
        await vectors.put(RED, [])
        await settle(vectors)
        assert await marks(vectors) == {"m0": 0}

    async def test_closed_is_closed(self, make: MakeVectors) -> None:
        vectors = make()
        await vectors.open(SPACE)
        await vectors.close()
        await vectors.close()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: vectors.open(SPACE),
            lambda: vectors.put(RED, [point("a")]),
            lambda: vectors.remove(RED, ["a"]),
            lambda: near(vectors),
            lambda: having(vectors, 7),
            lambda: vectors.marks(RED, None, 1),
            lambda: vectors.count(RED),
            lambda: vectors.clear(RED),
        ]
        for call in calls:
            with pytest.raises(ClosedError):
                await call()


async def stored(vectors: Vectors, *points: Point, project: Project = RED) -> None:
    """Put points and wait until they are surely found."""
    await vectors.put(project, points)
    await settle(vectors)


async def settle(vectors: Vectors) -> None:
    """Wait as long as the engine says that it takes."""
    await asyncio.sleep(vectors.settles_s)
