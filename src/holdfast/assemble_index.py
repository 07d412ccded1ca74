"""What finds memories, wired: the index in this process, or one on a vector database."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import msgspec

from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.clock import Clock
from holdfast.config import INDEX, Config, Part
from holdfast.engine.embedders import Embedders
from holdfast.engine.indexing import Feeder
from holdfast.errors import IndexUnavailableError
from holdfast.metrics import Metrics
from holdfast.model import Space
from holdfast.ports import Vectors
from holdfast.registry import Store, breaker_of, index_settings, make_vectors

if TYPE_CHECKING:
    from holdfast.backends.index.builds import Builds
    from holdfast.backends.index.candidates import CandidateIndex
    from holdfast.backends.postgres.records import PostgresRecords
    from holdfast.wrap.gate import Gate

_log = logging.getLogger("holdfast")


async def make_index(
    config: Config, records: Store, embedders: Embedders, metrics: Metrics, clock: Clock
) -> tuple[EmbeddedIndex | CandidateIndex, Feeder | None]:
    """What finds memories; an external index that is away is waited for while others answer."""
    space = embedders.now.embedder.space
    bounds = (config.view_bytes_max, config.view_rows_max)
    exact = EmbeddedIndex(records, space.dimensions, *bounds, metrics=metrics)
    if config.index.provider == INDEX:
        return exact, None
    from holdfast.backends.index.builds import Builds
    from holdfast.backends.index.candidates import Bounds, CandidateIndex
    from holdfast.wrap.bounded_vectors import BoundedVectors, index_gate

    settings, part = index_settings(config.index)
    gates: dict[bytes, Gate] = {}

    def bounded(engine: Part, vectors: Vectors) -> Vectors:
        # one for each engine: those of a sharded index fail and recover on their own
        key = msgspec.json.encode(engine, order="sorted")
        if key not in gates:
            gates[key] = index_gate(metrics, breaker=breaker_of(config))
        return BoundedVectors(vectors, gates[key])

    def make(collection: str) -> Vectors:
        return make_vectors(part, collection, records.directory, bounded, breaker_of(config))

    async def space_of(build: int) -> Space:
        number = await feeder.space_of(build)
        return next(each.space for each in await records.spaces.stored() if each.no == number)

    builds = Builds(make, settings.collection, space, space_of)
    feeder = Feeder(records.indexing, builds, clock, metrics, records.spaces)
    try:
        await feeder.collection(await feeder.build())
        feeder.beside = await _beside(config, records, feeder, builds)
    except IndexUnavailableError as error:
        _log.warning("the index does not answer (%s): searches do without it", error.message)
    except BaseException:
        await builds.close()
        raise
    if not feeder.beside:
        records.on_commit = feeder.notice
    index = CandidateIndex(
        records,
        records.indexing,
        builds,
        exact,
        space.dimensions,
        bounds=Bounds(exact_rows=settings.exact_rows),
        metrics=metrics,
    )
    return index, feeder


async def _beside(config: Config, records: Store, feeder: Feeder, builds: Builds) -> bool:
    """Let a memory and its point be committed together where both are in one Postgres; whether
    they are."""
    if (config.records.provider, config.index.provider) != ("postgres", "pgvector"):
        return False
    from holdfast.backends.postgres.beside import Beside, Writable
    from holdfast.wrap.bounded_vectors import BoundedVectors

    def opened(build: int) -> Writable | None:
        vectors = builds.opened(build)
        if not feeder.owns(build) or not isinstance(vectors, BoundedVectors):
            return None
        return cast("Writable", vectors.inner)

    index = Beside(builds.name, await feeder.build(), opened, feeder.notice)
    return await cast("PostgresRecords", records).keep_beside(index)
