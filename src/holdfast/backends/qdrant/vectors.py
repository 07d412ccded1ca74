"""`ports.Vectors` on Qdrant: a server, its cloud or a cluster, and qdrant-client's local mode."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar
from uuid import UUID

import numpy as np

from holdfast.backends.qdrant.settings import QdrantSettings, settings_of
from holdfast.config import Part
from holdfast.core.points import finite
from holdfast.errors import IndexUnavailableError, MissingExtraError, ValidationError
from holdfast.model import Entity, Project, Space
from holdfast.ports import Match, Point, TermMatches, Vectors

try:
    from qdrant_client import AsyncQdrantClient, models

    from holdfast.backends.qdrant import collection as qdrant_collection
    from holdfast.backends.qdrant import connect as qdrant_connect
    from holdfast.backends.qdrant import points as qdrant_points
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "The index qdrant needs an optional package that is not installed.",
        hint="Run: pip install 'holdfast[qdrant]'",
    ) from error

T = TypeVar("T")

_SLOW: Final = 10.0
"""How many times as long as other calls those may take that make and drop collections, and all in
local mode."""
_WORDS_MAX: Final = 100
"""Words in one request; a question of more takes several."""
_ONLY_ID: Final = ["id"]


def build(part: Part, collection: str) -> Vectors:
    """The index a configuration names, in a collection. Raises ConfigError."""
    return QdrantVectors(settings_of(part), collection)


class QdrantVectors:
    """One collection: a dense vector, a sparse one for the words, a payload of ids for each memory.

    Words are hashed to 32 bits there, so two of them may meet: a question then gets a candidate
    too many, and `rows` counts it, once in some thousand collections.
    """

    def __init__(self, settings: QdrantSettings, collection: str) -> None:
        self.name = f"qdrant:{collection}"
        self.settles_s = 0.0
        self._settings = settings
        self._collection = collection
        self._connection = qdrant_connect.connect(settings, self.name)
        self._dimensions: int | None = None

    def __repr__(self) -> str:
        return f"QdrantVectors({self.name!r})"

    async def open(self, space: Space) -> None:
        """See `ports.Vectors`. Settings that can be changed are given to a known collection."""
        timeout_s = self._settings.timeout_s * _SLOW
        self.settles_s = await qdrant_collection.prepare(
            self._connection, self._collection, self._settings, space, timeout_s
        )
        self._dimensions = space.dimensions

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        """See `ports.Vectors`. Requests are bounded by `batch_bytes_max`, one after the other."""
        average = self._settings.terms_average
        made = [
            [qdrant_points.structure(project, point, self._dimensions, average) for point in group]
            for group in qdrant_points.batches(points, self._settings.batch_bytes_max)
        ]
        for group in made:
            await self._write(self._upserting(group))

    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        """See `ports.Vectors`."""
        most = qdrant_points.POINTS_MAX
        wanted: list[int | str | UUID] = [qdrant_points.point_id(project, id_) for id_ in ids]
        for start in range(0, len(wanted), most):
            await self._delete(models.PointIdsList(points=wanted[start : start + most]))

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        """See `ports.Vectors`. Exact for entities below `hnsw_full_scan_threshold_kb`."""
        if limit <= 0:
            return []
        direction = finite(np.asarray(vector, dtype=np.float32)).tolist()
        found = await self._run(
            lambda client: client.query_points(
                self._collection,
                query=direction,
                using=qdrant_points.DENSE,
                query_filter=qdrant_points.of_entity(project, entity),
                search_params=self._search_params,
                limit=limit,
                with_payload=_ONLY_ID,
                consistency=self._consistency,
            )
        )
        return list(qdrant_points.matches(found.points))

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        """See `ports.Vectors`. `rows` is told if all that have the word came."""
        asked = qdrant_points.words(terms)
        told: dict[tuple[int, ...], TermMatches] = {(): TermMatches(matches=(), rows=0)}
        wanted = [word for word in dict.fromkeys(asked) if word]
        if limit <= 0:
            return [told[()] if not word else TermMatches(matches=()) for word in asked]
        selected = qdrant_points.of_entity(project, entity)
        for start in range(0, len(wanted), _WORDS_MAX):
            group = wanted[start : start + _WORDS_MAX]
            for word, matches in zip(group, await self._held(group, selected, limit), strict=True):
                rows = len(matches) if len(matches) < limit else None
                told[word] = TermMatches(matches=matches, rows=rows)
        return [told[word] for word in asked]

    async def _held(
        self, asked: Sequence[tuple[int, ...]], selected: models.Filter, limit: int
    ) -> list[tuple[Match, ...]]:
        requests = [
            models.QueryRequest(
                query=qdrant_points.question(word),
                using=qdrant_points.TERMS,
                filter=selected,
                params=qdrant_points.equal_weights(word),
                limit=limit,
                with_payload=_ONLY_ID,
            )
            for word in asked
        ]
        answers = await self._run(
            lambda client: client.query_batch_points(
                self._collection, requests, consistency=self._consistency
            )
        )
        if len(answers) != len(requests):
            raise IndexUnavailableError(f"The index {self.name} left questions unanswered.")
        return [qdrant_points.matches(answer.points) for answer in answers]

    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        """See `ports.Vectors`. The order is that of Qdrant's ids, the cursor the next of them."""
        found, following = await self._run(
            lambda client: client.scroll(
                self._collection,
                scroll_filter=qdrant_points.of_project(project),
                limit=max(1, size),
                offset=None if after is None else _cursor(after),
                with_payload=["id", "mark"],
                with_vectors=False,
                consistency=self._consistency,
            )
        )
        return qdrant_points.marks(found), None if following is None else str(following)

    async def count(self, project: Project | None) -> int:
        """See `ports.Vectors`."""
        selected = None if project is None else qdrant_points.of_project(project)
        found = await self._run(
            lambda client: client.count(self._collection, count_filter=selected, exact=True)
        )
        return found.count

    async def clear(self, project: Project | None) -> None:
        """See `ports.Vectors`."""
        if project is not None:
            await self._delete(
                models.FilterSelector(filter=qdrant_points.of_project(project)), _SLOW
            )
            return
        timeout_s = self._settings.timeout_s * _SLOW
        try:
            await self._connection.run(
                lambda client: qdrant_connect.drop(client, self._collection), timeout_s
            )
        except qdrant_connect.MissingError:
            return

    async def close(self) -> None:
        """See `ports.Vectors`."""
        await self._connection.close()

    @property
    def _ordering(self) -> models.WriteOrdering:
        return models.WriteOrdering(self._settings.write_ordering)

    @property
    def _consistency(self) -> models.ReadConsistencyType | None:
        wanted = self._settings.read_consistency
        return None if wanted is None else models.ReadConsistencyType(wanted)

    @property
    def _search_params(self) -> models.SearchParams | None:
        settings = self._settings
        if self._connection.local:  # it has neither graph nor quantisation, and warns of both
            return None
        quantisation = None
        if settings.quantisation != "none":
            quantisation = models.QuantizationSearchParams(
                rescore=settings.rescore, oversampling=settings.oversampling
            )
        return models.SearchParams(
            hnsw_ef=settings.hnsw_ef, exact=settings.exact, quantization=quantisation
        )

    def _upserting(
        self, points: list[models.PointStruct]
    ) -> Callable[[AsyncQdrantClient], Awaitable[models.UpdateResult]]:
        return lambda client: client.upsert(
            self._collection, points, wait=True, ordering=self._ordering
        )

    async def _delete(
        self, selector: models.PointIdsList | models.FilterSelector, patience: float = 1.0
    ) -> None:
        await self._write(
            lambda client: client.delete(
                self._collection, selector, wait=True, ordering=self._ordering
            ),
            patience,
        )

    async def _write(
        self,
        operation: Callable[[AsyncQdrantClient], Awaitable[models.UpdateResult]],
        patience: float = 1.0,
    ) -> None:
        """One write, which is done when this returns, not only accepted."""
        done = await self._run(operation, patience)
        if done.status != models.UpdateStatus.COMPLETED:
            raise IndexUnavailableError(f"The index {self.name} has not finished a write.")

    async def _run(
        self, operation: Callable[[AsyncQdrantClient], Awaitable[T]], patience: float = 1.0
    ) -> T:
        if self._connection.local:  # which syncs each point to its disk, and searches in Python
            patience = _SLOW
        try:
            return await self._connection.run(operation, self._settings.timeout_s * patience)
        except qdrant_connect.MissingError:
            raise IndexUnavailableError(
                f"The index {self.name} is gone.", hint="Rebuild it: holdfast index rebuild."
            ) from None


def _cursor(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValidationError("The cursor is not one that marks() gave.") from None
