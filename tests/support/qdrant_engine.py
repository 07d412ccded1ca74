"""Qdrant's real engine in this process (qdrant-edge), driven by the models of its REST API."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models


class NoCollectionError(Exception):
    """There is none of that name."""


@dataclass
class Collection:
    """A shard of the engine, and what it was made with."""

    shard: edge.EdgeShard
    form: models.CreateCollection
    indexes: dict[str, models.KeywordIndexParams]


class Engine:
    """Collections of real shards; one call at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self._lock = threading.Lock()
        self.collections: dict[str, Collection] = {}

    def of(self, name: str) -> Collection:
        try:
            return self.collections[name]
        except KeyError:
            raise NoCollectionError(name) from None

    def create(self, name: str, form: models.CreateCollection) -> bool:
        """False if there is one already."""
        with self._lock:
            if name in self.collections:
                return False
            self._made += 1
            place = self._folder / str(self._made)
            place.mkdir(parents=True)
            shard = edge.EdgeShard.create(str(place), shard_config(form))
            self.collections[name] = Collection(shard, form, {})
            return True

    def drop(self, name: str) -> bool:
        with self._lock:
            held = self.collections.pop(name, None)
            if held is not None:
                held.shard.close()
            return held is not None

    def index(self, name: str, key: str, schema: models.KeywordIndexParams) -> None:
        held = self.of(name)
        params = edge.KeywordIndexParams(is_tenant=schema.is_tenant)
        held.shard.update(edge.UpdateOperation.create_field_index(key, params))
        held.indexes[key] = schema

    def upsert(self, name: str, points: list[models.PointStruct]) -> None:
        made = [edge.Point(each.id, _vectors(each.vector), each.payload) for each in points]
        self.of(name).shard.update(edge.UpdateOperation.upsert_points(made))

    def delete(self, name: str, selector: models.PointIdsList | models.FilterSelector) -> None:
        if isinstance(selector, models.PointIdsList):
            operation = edge.UpdateOperation.delete_points(list(selector.points))
        else:
            operation = edge.UpdateOperation.delete_points_by_filter(filter_of(selector.filter))
        self.of(name).shard.update(operation)

    def query(self, name: str, requests: list[models.QueryRequest]) -> list[list[dict[str, Any]]]:
        shard = self.of(name).shard
        found = shard.query_batch(edge.QueryBatchRequest([_query(each) for each in requests]))
        return [
            [
                {
                    "id": str(hit.id),
                    "version": hit.version,
                    "score": hit.score,
                    "payload": hit.payload,
                }
                for hit in hits
            ]
            for hits in found
        ]

    def scroll(self, name: str, request: models.ScrollRequest) -> tuple[list[dict[str, Any]], Any]:
        records, after = self.of(name).shard.scroll(
            edge.ScrollRequest(
                offset=request.offset,
                limit=request.limit,
                filter=filter_of(request.filter),
                with_payload=request.with_payload,
                with_vector=False,
            )
        )
        found = [{"id": str(each.id), "payload": each.payload} for each in records]
        return found, None if after is None else str(after)

    def count(self, name: str, request: models.CountRequest) -> int:
        return self.of(name).shard.count(
            edge.CountRequest(exact=bool(request.exact), filter=filter_of(request.filter))
        )

    def optimize(self, name: str) -> None:
        """Build what is built in the background: graphs, sparse indexes."""
        self.of(name).shard.optimize()

    def close(self) -> None:
        for name in list(self.collections):
            self.drop(name)


def shard_config(form: models.CreateCollection) -> edge.EdgeConfig:
    """What a shard is made with."""
    assert isinstance(form.vectors, dict)
    dense = {
        name: edge.EdgeVectorParams(
            size=each.size, distance=edge.Distance.Cosine, on_disk=each.on_disk
        )
        for name, each in form.vectors.items()
    }
    assert {each.distance for each in form.vectors.values()} == {models.Distance.COSINE}
    assert {each.modifier for each in (form.sparse_vectors or {}).values()} == {models.Modifier.IDF}
    sparse = {
        name: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)
        for name in form.sparse_vectors or {}
    }
    wanted = form.hnsw_config
    assert wanted is not None
    hnsw = edge.HnswIndexConfig(
        m=wanted.m if wanted.m is not None else 16,
        ef_construct=wanted.ef_construct or 100,
        full_scan_threshold=wanted.full_scan_threshold or 10_000,
        payload_m=wanted.payload_m,
        on_disk=wanted.on_disk,
    )
    optimizers = form.optimizers_config or models.OptimizersConfigDiff()
    return edge.EdgeConfig(
        vectors=dense,
        sparse_vectors=sparse,
        hnsw_config=hnsw,
        on_disk_payload=form.on_disk_payload,
        max_search_threads=1,
        wal_enabled=False,
        quantization_config=_quantisation(form.quantization_config),
        optimizers=edge.EdgeOptimizersConfig(
            default_segment_number=optimizers.default_segment_number,
            indexing_threshold=optimizers.indexing_threshold,
        ),
    )


def _quantisation(wanted: models.QuantizationConfig | None) -> Any:
    match wanted:
        case models.ScalarQuantization(scalar=scalar):
            return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, always_ram=scalar.always_ram)
        case models.BinaryQuantization(binary=binary):
            return edge.BinaryQuantizationConfig(always_ram=binary.always_ram)
    assert wanted is None
    return None


def _vectors(given: Any) -> dict[str, Any]:
    assert isinstance(given, dict)
    return {name: _vector(each) for name, each in given.items()}


def _vector(given: Any) -> Any:
    if isinstance(given, models.SparseVector):
        return edge.SparseVector(given.indices, given.values)
    return given


def _query(request: models.QueryRequest) -> edge.QueryRequest:
    wanted = request.query
    if isinstance(wanted, models.NearestQuery):
        assert wanted.mmr is None
        wanted = wanted.nearest
    assert wanted is not None
    return edge.QueryRequest(
        limit=request.limit or 10,
        query=edge.Query.Nearest(_vector(wanted), request.using),
        filter=filter_of(request.filter),
        params=_params(request.params),
        with_payload=request.with_payload,
    )


def _params(given: models.SearchParams | None) -> edge.SearchParams | None:
    if given is None:
        return None
    idf = None
    if isinstance(given.idf, models.IdfCorpusParams):
        idf = edge.IdfParams(filter_of(given.idf.corpus))
    quantisation = None
    if given.quantization is not None:
        quantisation = edge.QuantizationSearchParams(
            rescore=given.quantization.rescore, oversampling=given.quantization.oversampling
        )
    return edge.SearchParams(
        hnsw_ef=given.hnsw_ef, exact=bool(given.exact), quantization=quantisation, idf=idf
    )


def filter_of(given: models.Filter | None) -> edge.Filter | None:
    """A filter of the REST interface as the engine's."""
    if given is None:
        return None
    assert not given.should
    assert given.min_should is None
    return edge.Filter(must=_conditions(given.must), must_not=_conditions(given.must_not))


def _conditions(given: Any) -> list[Any] | None:
    return None if given is None else [_condition(each) for each in given]


def _condition(given: Any) -> Any:
    match given:
        case models.FieldCondition(key=key, match=models.MatchValue(value=value)):
            return edge.FieldCondition(key, match=edge.MatchValue(value))
        case models.IsEmptyCondition(is_empty=field):
            return edge.IsEmptyCondition(field.key)
        case models.HasIdCondition(has_id=ids):
            return edge.HasIdCondition(set(ids))
    raise AssertionError(f"a condition that the tests do not know: {given!r}")
