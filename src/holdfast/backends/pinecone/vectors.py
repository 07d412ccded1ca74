"""Candidates from Pinecone: one document index a collection, a namespace in it for each project.

A document index (API 2026-07) holds a dense and a sparse vector in one record, and can be asked for
either alone: one write, and a score of its own for each word. The older ways cannot: an index with
dotproduct wants a dense vector in every question, and two indexes can disagree.

Pinecone applies writes later: `settles_s` says when they are surely found.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from msgspec import Meta

from holdfast.backends.pinecone.documents import (
    DENSE,
    HAS_VECTOR,
    ID,
    MARK,
    TERMS,
    TOP_K_MAX,
    batches,
    belongs,
    document,
    document_id,
    index_name,
    memory_id,
    namespace,
    word,
)
from holdfast.backends.pinecone.errors import or_nothing, translated
from holdfast.backends.together import together
from holdfast.config import Part, part_settings
from holdfast.errors import (
    ClosedError,
    ConfigError,
    IndexUnavailableError,
    MissingExtraError,
    SpaceMismatchError,
)
from holdfast.model import Entity, Json, Project, Space, Struct
from holdfast.ports import Match, Point, TermMatches

if TYPE_CHECKING:
    import numpy as np
    from pinecone import AsyncIndex, AsyncPinecone

_OURS: Final = {"made-by": "holdfast", "holdfast-form": "1"}
_AVERAGE: Final = "holdfast-terms-average"
"""Tags of an index: whose it is, and what the scores in it were made with."""
_IDS_MAX: Final = 1_000
_LIST_MAX: Final = 100
_METRIC: Final = "cosine"


class PineconeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `config` of an index whose provider is `pinecone`."""

    api_key: str | None = None
    """Else the environment variable PINECONE_API_KEY."""
    url: str | None = None
    """Address of the control plane, where it is not Pinecone's own."""
    deployment: Literal["managed", "pod", "byoc"] = "managed"
    """`managed` is serverless, in `cloud` and `region`; the others are in `environment`."""
    cloud: str = "aws"
    region: str = "us-east-1"
    environment: str | None = None
    pod_type: str = "p1.x1"
    replicas: Annotated[int, Meta(ge=1)] = 1
    shards: Annotated[int, Meta(ge=1)] = 1
    """`pod_type`, `replicas` and `shards` are for pods."""
    timeout_s: Annotated[float, Meta(gt=0, le=300)] = 10.0
    """Seconds one call may take."""
    create_timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 300.0
    """Seconds that making the index may take."""
    settles_s: Annotated[float, Meta(ge=0, le=3600)] = 60.0
    """Seconds after which a write is surely found."""
    terms_average: Annotated[float, Meta(gt=0)] = 200.0
    """Words in a memory of usual length, for BM25. Cannot be changed later."""
    concurrency_max: Annotated[int, Meta(ge=1, le=256)] = 16
    """Requests at once; a question takes one for each of its words."""

    def placed(self) -> dict[str, Json]:
        """Where a new index is made, as Pinecone wants it told. Raises ConfigError."""
        if self.deployment == "managed":
            return {"deployment_type": "managed", "cloud": self.cloud, "region": self.region}
        if not self.environment:
            raise ConfigError(
                f"index.config.environment: {self.deployment} needs one.",
                hint="It is shown in Pinecone's console.",
            )
        where: dict[str, Json] = {
            "deployment_type": self.deployment,
            "environment": self.environment,
        }
        if self.deployment == "pod":
            where.update(pod_type=self.pod_type, replicas=self.replicas, shards=self.shards)
        return where


def build(part: Part, collection: str) -> PineconeVectors:
    """The index of a configuration. Raises ConfigError, MissingExtraError."""
    settings = part_settings(PineconeSettings, part, "index")
    settings.placed()
    return PineconeVectors(settings, collection)


class PineconeVectors:
    """One index of Pinecone's; see the module and `ports.Vectors`."""

    def __init__(self, settings: PineconeSettings, collection: str) -> None:
        """Raises ConfigError without an API key, MissingExtraError without the library."""
        self._settings = settings
        self._index_name = index_name(collection)
        self.name = f"pinecone:{self._index_name}"
        self.settles_s = settings.settles_s
        self._client = _client(settings)
        self._index: AsyncIndex | None = None
        self._dimensions = 0
        self._slots = asyncio.Semaphore(settings.concurrency_max)
        self._closed = False

    async def open(self, space: Space) -> None:
        """As the port says; waits for a new index to be ready."""
        async with self._bounded(self._settings.create_timeout_s):
            found = await self._described()
            if found is None:
                found = await self._made(space)
            self._check(found, space)
            found = await self._ready(found)
            if self._index is None or self._index.host.rsplit("//", maxsplit=1)[-1] != _bare(
                found.host
            ):
                await self._leave()
                self._index = _without_retries(await self._client.index(host=found.host))
            self._dimensions = space.dimensions

    async def _described(self) -> Any:
        from pinecone.errors import NotFoundError

        try:
            return await self._client.indexes.describe(self._index_name)
        except NotFoundError:
            return None

    async def _made(self, space: Space) -> Any:
        from pinecone.errors import ConflictError

        dense = {"type": "dense_vector", "dimension": space.dimensions, "metric": _METRIC}
        try:
            return await self._client.indexes.create(
                name=self._index_name,
                schema={"fields": {DENSE: dense, TERMS: {"type": "sparse_vector"}}},
                deployment=self._settings.placed(),
                tags={**_OURS, _AVERAGE: str(self._settings.terms_average)},
                timeout=-1,
            )
        except ConflictError:  # another process was faster
            found = await self._described()
            if found is None:
                raise IndexUnavailableError(f"{self.name} is being deleted.") from None
            return found

    def _check(self, found: Any, space: Space) -> None:
        tags, fields = dict(found.tags or {}), found.schema.fields
        dense = fields.get(DENSE)
        shaped = TERMS in fields and getattr(dense, "metric", None) == _METRIC
        if not (shaped and _OURS.items() <= tags.items()):
            raise ConfigError(
                f"{self.name} was not made by this version of Holdfast.",
                hint="Choose another collection.",
            )
        if tags.get(_AVERAGE) != str(self._settings.terms_average):
            raise ConfigError(
                "index.config.terms_average is not the one the index was made with.",
                hint=f"Set {tags.get(_AVERAGE, '?')[:16]}, or rebuild the index.",
            )
        if dense.dimension != space.dimensions:
            raise SpaceMismatchError(
                f"{self.name} holds vectors of {dense.dimension} dimensions, "
                f"not {space.dimensions}.",
                hint="Choose another collection, or rebuild the index for this embedder.",
            )

    async def _ready(self, found: Any) -> Any:
        """Wait, with growing pauses, until the index is ready and has an address."""
        pause = 0.1
        while not (found.status.ready and found.host):
            await asyncio.sleep(pause)
            pause = min(5.0, pause * 2)
            found = await self._described()
            if found is None:
                raise IndexUnavailableError(f"{self.name} was deleted while it was made.")
        return found

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        """As the port says; found after `settles_s`."""
        async with self._asked() as index:
            last = {document_id(point.id): point for point in points}
            average = self._settings.terms_average
            made = [document(point, self._dimensions, average) for point in last.values()]
            for batch in batches(made):
                await index.documents.upsert(namespace=namespace(project), documents=batch)

    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        """As the port says; gone after `settles_s`."""
        known = [document_id(id_) for id_ in dict.fromkeys(ids)]
        async with self._asked() as index:
            for start in range(0, len(known), _IDS_MAX):
                some = known[start : start + _IDS_MAX]
                await or_nothing(index.documents.delete(namespace=namespace(project), ids=some))

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        """As the port says; 10,000 at most."""
        wanted = {"type": "dense_vector", "field": DENSE, "values": vector.tolist()}
        own = {"$and": [belongs(entity), {HAS_VECTOR: {"$eq": True}}]}
        async with self._asked() as index:
            if not vector.any():
                return []
            return await self._search(index, project, wanted, own, limit)

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        """As the port says, with a request for each word; `rows` are told if all have come."""
        async with self._asked() as index:
            own = belongs(entity)
            asked = [
                {"type": "sparse_vector", "field": TERMS, "sparse_values": word(each)}
                for each in terms
            ]
            found = await together(
                [self._search(index, project, each, own, limit) for each in asked]
            )
            return [_holding(matches, limit) for matches in found]

    async def _search(
        self,
        index: AsyncIndex,
        project: Project,
        score_by: dict[str, Json],
        own: dict[str, Json],
        limit: int,
    ) -> list[Match]:
        if limit < 1:
            return []
        async with self._slots:
            found = await or_nothing(
                index.documents.search(
                    namespace=namespace(project),
                    score_by=[score_by],
                    top_k=min(limit, TOP_K_MAX),
                    include_fields=[ID],
                    filter=own,
                )
            )
        if found is None:
            return []
        return [
            Match(id=memory_id(each.id, each.to_dict()), score=each.score or 0.0)
            for each in found.matches
        ]

    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        """As the port says, by document id; 100 at most."""
        async with self._asked() as index:
            where = namespace(project)
            listed = index.documents.list(
                namespace=where, limit=min(size, _LIST_MAX), pagination_token=after
            )
            async with aclosing(listed.pages()) as pages:
                page = await or_nothing(anext(pages))
            if page is None:
                return [], None
            return await self._marked(index, where, page.items), page.pagination_token

    async def _marked(
        self, index: AsyncIndex, where: str, listed: Sequence[Any]
    ) -> list[tuple[str, int]]:
        if not listed:
            return []
        found = await index.documents.fetch(
            namespace=where, ids=[each.id for each in listed], include_fields=[ID, MARK]
        )
        told = [(id_, each.to_dict()) for id_, each in found.documents.items()]
        return [(memory_id(id_, fields), int(fields[MARK])) for id_, fields in told]

    async def count(self, project: Project | None) -> int:
        """As the port says, as of `settles_s` ago."""
        async with self._asked() as index:
            stats = await index.describe_index_stats()
            if project is None:
                return sum(each.vector_count for each in stats.namespaces.values())
            own = stats.namespaces.get(namespace(project))
            return 0 if own is None else own.vector_count

    async def clear(self, project: Project | None) -> None:
        """As the port says."""
        from pinecone.errors import NotFoundError

        if project is not None:
            async with self._asked() as index:
                where = namespace(project)
                await or_nothing(index.documents.delete(namespace=where, delete_all=True))
            return
        async with self._bounded(self._settings.create_timeout_s):
            with suppress(NotFoundError):  # it is gone, as wanted
                await self._client.indexes.delete(self._index_name)
            await self._leave()

    async def close(self) -> None:
        """As the port says."""
        if self._closed:
            return
        self._closed = True
        await self._leave()
        await self._client.close()

    async def _leave(self) -> None:
        if self._index is not None:
            await self._index.close()
            self._index = None

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[AsyncIndex]:
        """The index, for one call that is bounded and whose errors are ours."""
        async with self._bounded(self._settings.timeout_s):
            if self._index is None:
                raise IndexUnavailableError(f"{self.name} is not open, or was dropped.")
            yield self._index

    @asynccontextmanager
    async def _bounded(self, timeout_s: float) -> AsyncIterator[None]:
        if self._closed:
            raise ClosedError("The vector index is closed.")
        try:
            with translated(self.name):
                async with asyncio.timeout(timeout_s):
                    yield
        except TimeoutError:
            raise IndexUnavailableError(
                f"{self.name} gave no answer within {timeout_s:g} s."
            ) from None


def _client(settings: PineconeSettings) -> AsyncPinecone:
    key = settings.api_key or os.environ.get("PINECONE_API_KEY")
    if not key:
        raise ConfigError(
            "index.config.api_key: Pinecone needs one.", hint="Or set PINECONE_API_KEY."
        )
    try:
        from pinecone import AsyncPinecone, RetryConfig
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Pinecone needs the package pinecone.", hint="pip install 'holdfast[pinecone]'."
        ) from error
    with translated("pinecone"):
        return AsyncPinecone(
            api_key=key,
            host=settings.url,
            timeout=settings.timeout_s,
            retry_config=RetryConfig(max_retries=0),
        )


def _without_retries(index: AsyncIndex) -> AsyncIndex:
    """The index client takes no retry_config: its default would sleep through our deadline, and
    nobody would hear how long Pinecone asks to wait."""
    http = index._http
    config = http._config
    http._config = replace(config, retry_config=replace(config.retry_config, max_retries=0))
    return index


def _bare(host: str) -> str:
    return host.rsplit("//", maxsplit=1)[-1].rstrip("/")


def _holding(matches: list[Match], limit: int) -> TermMatches:
    having = tuple(match for match in matches if match.score > 0.0)
    return TermMatches(matches=having, rows=len(having) if len(matches) < limit else None)
