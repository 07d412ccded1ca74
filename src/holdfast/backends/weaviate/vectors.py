"""Candidates from Weaviate: one class a collection, a tenant in it for each project.

Entities are kept as digests and terms as hashed words: Weaviate's tokens, stop words and filters
then have nothing to change. BM25 is Weaviate's own, over the words of a tenant.

The client is asked for no checks at start: they include a call to the registry of packages. Calls
of gRPC that find nobody are tried again by the client, up to `timeout_s`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta

from holdfast.backends.together import together
from holdfast.backends.weaviate.errors import or_nothing, translated
from holdfast.backends.weaviate.objects import (
    EXPECTED,
    KINDS,
    MARK,
    MEMORY,
    OBJECTS_MAX,
    RESULTS_MAX,
    TERMS,
    batches,
    class_name,
    dimensions_of,
    entity_key,
    memory_of,
    object_id,
    properties,
    tenant_name,
    vector,
    words,
)
from holdfast.backends.weaviate.schema import class_form
from holdfast.config import Part, part_settings
from holdfast.errors import (
    ClosedError,
    ConfigError,
    IndexUnavailableError,
    MissingExtraError,
    SpaceMismatchError,
)
from holdfast.model import ANY, Entity, Project, Space, Struct
from holdfast.ports import Match, Point, TermMatches

if TYPE_CHECKING:
    import numpy as np
    from weaviate import WeaviateAsyncClient

_CLOUDS: Final = (".weaviate.network", ".weaviate.cloud", ".weaviate.io")
_TOGETHER: Final = 16


class WeaviateSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `config` of an index whose provider is `weaviate`."""

    url: str
    """http(s)://host:port of its REST interface."""
    grpc_url: str | None = None
    """http(s)://host:port of its gRPC interface; else the same host, with port 50051, or 443 for
    https."""
    api_key: str | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=300)] = 10.0
    """Seconds one call may take."""
    vector_index: Literal["hnsw", "flat", "dynamic"] = "hnsw"
    """`dynamic` needs ASYNC_INDEXING in Weaviate; set `settles_s` then."""
    replication_factor: Annotated[int, Meta(ge=1, le=32)] = 1
    consistency: Literal["one", "quorum", "all"] = "quorum"
    """How many replicas must have taken a write, or answered a query."""
    settles_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    """Seconds after which a write is surely found: more than 0 with ASYNC_INDEXING."""

    def rest(self) -> SplitResult:
        """Where REST is. Raises ConfigError."""
        return _address("url", self.url)

    def grpc(self) -> tuple[str, int, bool]:
        """Host, port and whether with TLS of gRPC. Raises ConfigError."""
        if self.grpc_url is not None:
            found = _address("grpc_url", self.grpc_url)
            return found.hostname or "", found.port or _port(found, 50051), found.scheme == "https"
        rest = self.rest()
        host = rest.hostname or ""
        if host.endswith(_CLOUDS):
            host = f"grpc-{host}"
        return host, 443 if rest.scheme == "https" else 50051, rest.scheme == "https"


def _address(name: str, url: str) -> SplitResult:
    try:
        found = urlsplit(url)
        fits = found.scheme in ("http", "https") and found.hostname and found.port != 0
    except ValueError:
        fits = False
    if not fits or found.username is not None:
        raise ConfigError(
            f"index.config.{name}: this is no address.", hint="Write it like http://host:8080."
        )
    return found


def _port(found: SplitResult, plain: int) -> int:
    return 443 if found.scheme == "https" else plain


def build(part: Part, collection: str) -> WeaviateVectors:
    """The index of a configuration. Raises ConfigError, MissingExtraError."""
    return WeaviateVectors(part_settings(WeaviateSettings, part, "index"), collection)


class WeaviateVectors:
    """One class of Weaviate's; see the module and `ports.Vectors`."""

    def __init__(self, settings: WeaviateSettings, collection: str) -> None:
        """Raises ConfigError for an address that is none, MissingExtraError."""
        self._settings = settings
        self._class = class_name(collection)
        self.name = f"weaviate:{self._class}"
        self.settles_s = settings.settles_s
        self._client = _client(settings)
        self._connecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(_TOGETHER)
        self._dimensions = 0
        self._closed = False

    async def open(self, space: Space) -> None:
        """As the port says."""
        async with self._bounded():
            await self._connect()
            found = await self._described()
            if found is None:
                found = await self._made(space)
            self._check(found, space)
            # the first call over gRPC: its address may be wrong where that of REST is right
            await self._tenant_count("holdfast-probe")
            self._dimensions = space.dimensions

    async def _connect(self) -> None:
        async with self._connecting:
            if self._client.is_connected():
                return
            try:
                await self._client.connect()
            except BaseException:
                await self._client.close()  # else the next try would leave its connections open
                raise

    async def _described(self) -> Any:
        from weaviate.exceptions import UnexpectedStatusCodeError

        try:
            return await self._client.collections.use(self._class).config.get()
        except UnexpectedStatusCodeError as error:
            if error.status_code != 404:
                raise
        return None

    async def _made(self, space: Space) -> Any:
        from weaviate.exceptions import UnexpectedStatusCodeError

        settings = self._settings
        try:
            await self._client.collections.create(
                self._class,
                **class_form(settings.vector_index, settings.replication_factor, space.dimensions),
            )
        except UnexpectedStatusCodeError as error:
            found = await self._described()
            if error.status_code != 422 or found is None:
                raise
            return found  # another process was faster
        return await self._described()

    def _check(self, found: Any, space: Space) -> None:
        kept = dimensions_of(found.description)
        names = {each.name for each in found.properties}
        if kept is None or not names >= EXPECTED or not found.multi_tenancy_config.enabled:
            raise ConfigError(
                f"{self.name} was not made by this version of Holdfast.",
                hint="Choose another collection.",
            )
        if kept != space.dimensions:
            raise SpaceMismatchError(
                f"{self.name} holds vectors of {kept} dimensions, not {space.dimensions}.",
                hint="Choose another collection, or rebuild the index for this embedder.",
            )

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        """As the port says."""
        async with self._asked():
            tenant = self._tenant(project)
            last = {point.id: point for point in points}
            made = [(point, vector(point, self._dimensions)) for point in last.values()]
            for batch in batches(made):
                told = await tenant.data.insert_many(_objects(batch))
                if told.has_errors:
                    raise IndexUnavailableError(f"{self.name} did not store every point.")

    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        """As the port says."""
        from weaviate.classes.query import Filter

        known = [object_id(id_) for id_ in dict.fromkeys(ids)]
        async with self._asked():
            tenant = self._tenant(project)
            for start in range(0, len(known), OBJECTS_MAX):
                some = known[start : start + OBJECTS_MAX]
                told = await or_nothing(tenant.data.delete_many(Filter.by_id().contains_any(some)))
                if told is not None and told.failed:
                    raise IndexUnavailableError(f"{self.name} did not forget every point.")

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        """As the port says; 10,000 at most."""
        from weaviate.classes.query import MetadataQuery

        async with self._asked():
            if limit < 1 or not vector.any():
                return []
            found = await or_nothing(
                self._tenant(project).query.near_vector(
                    vector.tolist(),
                    limit=min(limit, RESULTS_MAX),
                    filters=_belongs(entity),
                    return_metadata=MetadataQuery(distance=True),
                    return_properties=[MEMORY],
                )
            )
            return [
                Match(id=memory_of(each.properties), score=1.0 - float(each.metadata.distance))
                for each in (found.objects if found else ())
            ]

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        """As the port says, with a call for each word; `rows` are told if all have come."""
        async with self._asked():
            return await together([self._having(project, entity, each, limit) for each in terms])

    async def _having(
        self, project: Project, entity: Entity, alternatives: Sequence[int], limit: int
    ) -> TermMatches:
        from weaviate.classes.query import MetadataQuery

        if limit < 1:
            return TermMatches(matches=())
        async with self._slots:
            found = await or_nothing(
                self._tenant(project).query.bm25(
                    words(alternatives),
                    query_properties=[TERMS],
                    limit=min(limit, RESULTS_MAX),
                    filters=_belongs(entity),
                    return_metadata=MetadataQuery(score=True),
                    return_properties=[MEMORY],
                )
            )
        matches = tuple(
            Match(id=memory_of(each.properties), score=float(each.metadata.score))
            for each in (found.objects if found else ())
        )
        return TermMatches(matches=matches, rows=len(matches) if len(matches) < limit else None)

    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        """As the port says, in the order of Weaviate's ids."""
        async with self._asked():
            found = await or_nothing(
                self._tenant(project).query.fetch_objects(
                    limit=size, after=after, return_properties=[MEMORY, MARK]
                )
            )
            objects = found.objects if found else []
            page = [(memory_of(each.properties), int(each.properties[MARK])) for each in objects]
            return page, str(objects[-1].uuid) if len(objects) == size else None

    async def count(self, project: Project | None) -> int:
        """As the port says; for None with a call for each project."""
        async with self._asked():
            if project is not None:
                return await self._tenant_count(tenant_name(project))
            tenants = await self._client.collections.use(self._class).tenants.get()
            if not tenants:
                return 0
            return sum(await together([self._tenant_count(name) for name in tenants]))

    async def _tenant_count(self, name: str) -> int:
        tenant = self._client.collections.use(self._class).with_tenant(name)
        async with self._slots:
            found = await or_nothing(tenant.aggregate.over_all(total_count=True))
        return 0 if found is None else int(found.total_count or 0)

    async def clear(self, project: Project | None) -> None:
        """As the port says: the tenant goes, or the class."""
        async with self._asked():
            if project is None:
                await self._client.collections.delete(self._class)
                self._dimensions = 0
                return
            own = self._client.collections.use(self._class)
            await or_nothing(own.tenants.remove([tenant_name(project)]))

    async def close(self) -> None:
        """As the port says."""
        if not self._closed:
            self._closed = True
            await self._client.close()

    def _tenant(self, project: Project) -> Any:
        from weaviate.classes.config import ConsistencyLevel

        level = ConsistencyLevel[self._settings.consistency.upper()]
        own = self._client.collections.use(self._class)
        return own.with_tenant(tenant_name(project)).with_consistency_level(level)

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[None]:
        """One call that is bounded and whose errors are ours."""
        async with self._bounded():
            if not self._dimensions:
                raise IndexUnavailableError(f"{self.name} is not open, or was dropped.")
            yield

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        if self._closed:
            raise ClosedError("The vector index is closed.")
        seconds = self._settings.timeout_s
        try:
            with translated(self.name):
                async with asyncio.timeout(seconds):
                    yield
        except TimeoutError:
            raise IndexUnavailableError(
                f"{self.name} gave no answer within {seconds:g} s."
            ) from None


def _client(settings: WeaviateSettings) -> WeaviateAsyncClient:
    try:
        import weaviate
        from weaviate.classes.init import AdditionalConfig, Auth, Timeout
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Weaviate needs the package weaviate-client.", hint="pip install 'holdfast[weaviate]'."
        ) from error
    rest, (host, port, secure) = settings.rest(), settings.grpc()
    seconds = settings.timeout_s
    return weaviate.use_async_with_custom(
        http_host=rest.hostname or "",
        http_port=rest.port or _port(rest, 80),
        http_secure=rest.scheme == "https",
        grpc_host=host,
        grpc_port=port,
        grpc_secure=secure,
        auth_credentials=Auth.api_key(settings.api_key) if settings.api_key else None,
        additional_config=AdditionalConfig(
            timeout=Timeout(init=seconds, query=seconds, insert=seconds), trust_env=False
        ),
        skip_init_checks=True,
    )


def _objects(batch: Sequence[tuple[Point, list[float] | None]]) -> list[Any]:
    from weaviate.classes.data import DataObject

    return [
        DataObject(uuid=object_id(point.id), properties=properties(point), vector=vector)
        for point, vector in batch
    ]


def _belongs(entity: Entity) -> Any:
    """The filter for the objects of an entity."""
    from weaviate.classes.query import Filter

    if entity.id == ANY:
        return Filter.by_property(KINDS).equal(entity.kind)
    return Filter.by_property(entity.kind).equal(entity_key(entity))
