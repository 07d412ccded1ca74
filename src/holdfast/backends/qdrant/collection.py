"""The collection in Qdrant: made as it should be, checked, and brought up to the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from qdrant_client import AsyncQdrantClient, models

from holdfast.backends.qdrant.connect import Connection, ExistsError, MissingError
from holdfast.backends.qdrant.points import DENSE, KEYS, TENANT, TERMS
from holdfast.backends.qdrant.settings import QdrantSettings, settling_s
from holdfast.errors import ConfigError, IndexUnavailableError, SpaceMismatchError
from holdfast.model import Space

_MARKER: Final = "holdfast"
_FORMAT: Final = 1
"""Of payloads and sparse vectors; goes up when old points cannot be used any more."""
_TRIES: Final = 3
"""Another process may make the collection, or drop it, between two requests."""


async def prepare(
    connection: Connection, name: str, settings: QdrantSettings, space: Space, timeout_s: float
) -> float:
    """Make the collection and its indexes, or check them; seconds until a write is surely found.

    Raises ConfigError, SpaceMismatchError, IndexUnavailableError; nothing was changed then but
    what others did as well.
    """
    for _ in range(_TRIES):
        try:
            info = await connection.run(lambda client: client.get_collection(name), timeout_s)
        except MissingError:
            await _create(connection, name, settings, space, timeout_s)
            continue
        _check(info, settings, space)
        if connection.local:
            return 0.0
        await _adapt(connection, name, settings, info, timeout_s)
        await _index(connection, name, info, timeout_s)
        return _settling_s(settings, info)
    raise IndexUnavailableError(
        f"The Qdrant collection {name} comes and goes.", hint="Is another process dropping it?"
    )


async def _create(
    connection: Connection, name: str, settings: QdrantSettings, space: Space, timeout_s: float
) -> None:
    form = creation(settings, space.dimensions)
    try:
        await connection.run(lambda client: client.create_collection(name, **form), timeout_s)
    except ExistsError:
        return
    except MissingError:
        raise ConfigError(
            f"There is no Qdrant where the index {name} is looked for (HTTP 404).",
            hint="Check index.config.url, its port and its prefix.",
        ) from None


def creation(settings: QdrantSettings, dimensions: int) -> dict[str, Any]:
    """The arguments of `create_collection`.

    No graph over all points (m=0), but one for every value of an indexed key that has enough of
    them (payload_m): each question selects by such a key, so a common graph would only be built.
    """
    vector = models.VectorParams(
        size=dimensions, distance=models.Distance.COSINE, on_disk=settings.vectors_on_disk
    )
    return {
        "vectors_config": {DENSE: vector},
        "sparse_vectors_config": {TERMS: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        "on_disk_payload": settings.payload_on_disk,
        "hnsw_config": _hnsw(settings),
        "optimizers_config": _optimizers(settings),
        "quantization_config": _quantisation(settings),
        "shard_number": settings.shard_number,
        "replication_factor": settings.replication_factor,
        "write_consistency_factor": settings.write_consistency_factor,
        "metadata": {_MARKER: {"format": _FORMAT, "terms_average": settings.terms_average}},
    }


def _hnsw(settings: QdrantSettings) -> models.HnswConfigDiff:
    return models.HnswConfigDiff(
        m=0,
        payload_m=settings.hnsw_links,
        ef_construct=settings.hnsw_ef_construct,
        full_scan_threshold=settings.hnsw_full_scan_threshold_kb,
        on_disk=settings.hnsw_on_disk,
    )


def _optimizers(settings: QdrantSettings) -> models.OptimizersConfigDiff | None:
    given = models.OptimizersConfigDiff(
        default_segment_number=settings.default_segment_number,
        indexing_threshold=settings.indexing_threshold_kb,
        memmap_threshold=settings.memmap_threshold_kb,
    )
    return given if _given(given) else None


def _quantisation(
    settings: QdrantSettings,
) -> models.ScalarQuantization | models.BinaryQuantization | None:
    in_ram = settings.quantised_in_ram
    if settings.quantisation == "scalar":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=in_ram)
        return models.ScalarQuantization(scalar=scalar)
    if settings.quantisation == "binary":
        binary = models.BinaryQuantizationConfig(always_ram=in_ram)
        return models.BinaryQuantization(binary=binary)
    return None


def _check(info: models.CollectionInfo, settings: QdrantSettings, space: Space) -> None:
    """Whether the collection is ours, of this space, and as what cannot be changed says."""
    dense = _ours(info)
    if dense.size != space.dimensions:
        raise SpaceMismatchError(
            f"The Qdrant collection holds vectors of {dense.size} numbers, not {space.dimensions}.",
            hint="Choose another collection, or rebuild the index for this embedder.",
        )
    marker = (info.config.metadata or {}).get(_MARKER)
    if marker is not None:
        _check_marker(marker, settings)
    shards = info.config.params.shard_number
    if settings.shard_number is not None and shards not in (None, settings.shard_number):
        raise ConfigError(
            f"index.config.shard_number is {settings.shard_number}; the collection has {shards}.",
            hint="It cannot be changed; rebuild the index, or take the setting back.",
        )


def _ours(info: models.CollectionInfo) -> models.VectorParams:
    """The dense vector of our collection. Raises ConfigError for somebody else's.

    Servers before 1.16 keep no metadata: then the names and kinds of the vectors must do.
    """
    params = info.config.params
    vectors = params.vectors if isinstance(params.vectors, dict) else {}
    sparse = params.sparse_vectors or {}
    shaped = set(vectors) == {DENSE} and set(sparse) == {TERMS}
    shaped = shaped and vectors[DENSE].distance == models.Distance.COSINE
    shaped = shaped and sparse[TERMS].modifier == models.Modifier.IDF
    named = not info.config.metadata or _MARKER in info.config.metadata
    if not (shaped and named):
        raise ConfigError(
            "The Qdrant collection was made by somebody else.",
            hint="Choose another collection; Holdfast makes its own.",
        )
    return vectors[DENSE]


def _check_marker(marker: Any, settings: QdrantSettings) -> None:
    known = marker if isinstance(marker, dict) else {}
    if known.get("format") != _FORMAT:
        raise ConfigError(
            "The Qdrant collection was made by another version of Holdfast.",
            hint="Rebuild the index: holdfast index rebuild.",
        )
    if known.get("terms_average") != settings.terms_average:
        raise ConfigError(
            "index.config.terms_average is not the one the collection was made with.",
            hint="It cannot be changed; rebuild the index, or take the setting back.",
        )


async def _adapt(
    connection: Connection,
    name: str,
    settings: QdrantSettings,
    info: models.CollectionInfo,
    timeout_s: float,
) -> None:
    """Give the collection what the settings say otherwise."""
    changes = differences(settings, info)
    if changes:
        await connection.run(lambda client: client.update_collection(name, **changes), timeout_s)


def differences(settings: QdrantSettings, info: models.CollectionInfo) -> dict[str, Any]:
    """The arguments of `update_collection` that bring a collection up to the settings."""
    config = info.config
    params = models.CollectionParamsDiff(
        replication_factor=settings.replication_factor,
        write_consistency_factor=settings.write_consistency_factor,
        on_disk_payload=settings.payload_on_disk,
    )
    vector = models.VectorParamsDiff(on_disk=settings.vectors_on_disk)
    vectors = config.params.vectors
    wanted: dict[str, tuple[BaseModel | None, Any]] = {
        "hnsw_config": (_hnsw(settings), config.hnsw_config),
        "optimizers_config": (_optimizers(settings), config.optimizer_config),
        "collection_params": (params, config.params),
        "vectors_config": (vector, vectors[DENSE] if isinstance(vectors, dict) else None),
        "quantization_config": (_quantisation(settings), config.quantization_config),
    }
    changes: dict[str, Any] = {
        key: wish for key, (wish, have) in wanted.items() if not _has(_given(wish), _given(have))
    }
    if settings.quantisation == "none" and config.quantization_config is not None:
        changes["quantization_config"] = models.Disabled.DISABLED
    if "vectors_config" in changes:
        changes["vectors_config"] = {DENSE: vector}
    return changes


def _given(model: BaseModel | None) -> dict[str, Any]:
    return {} if model is None else model.model_dump(mode="json", exclude_none=True)


def _has(wish: Mapping[str, Any], have: Mapping[str, Any]) -> bool:
    """Whether all that is wished is there; what is off need not be mentioned."""
    for key, value in wish.items():
        known = have.get(key)
        if isinstance(value, dict):
            if not _has(value, known if isinstance(known, dict) else {}):
                return False
        elif (known or False) != value:
            return False
    return True


async def _index(
    connection: Connection, name: str, info: models.CollectionInfo, timeout_s: float
) -> None:
    """The payload indexes that are missing: all of them, after a process died in between."""
    for key in KEYS:
        if key not in info.payload_schema:
            schema = models.KeywordIndexParams(
                type=models.KeywordIndexType.KEYWORD, is_tenant=key == TENANT
            )
            await connection.run(_creating(name, key, schema), timeout_s)


def _creating(name: str, key: str, schema: models.KeywordIndexParams) -> Any:
    def create(client: AsyncQdrantClient) -> Any:
        return client.create_payload_index(name, key, field_schema=schema, wait=True)

    return create


def _settling_s(settings: QdrantSettings, info: models.CollectionInfo) -> float:
    params = info.config.params
    replicas = settings.replication_factor or params.replication_factor or 1
    acknowledged = settings.write_consistency_factor or params.write_consistency_factor or 1
    return settling_s(settings, replicas, acknowledged)
