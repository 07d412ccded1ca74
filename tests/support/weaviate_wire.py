"""A Weaviate of the tests' own: schema and tenants over REST, objects and queries over gRPC.

The messages are those of Weaviate's own package. What it knows of Weaviate's rules it enforces:
names of classes and tenants, tokenisation, which properties can be filtered or searched.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import grpc
import numpy as np
from weaviate.proto.v1 import (
    aggregate_pb2,
    base_pb2,
    batch_delete_pb2,
    batch_pb2,
    properties_pb2,
    search_get_pb2,
    tenants_pb2,
    weaviate_pb2_grpc,
)

from support.wire_server import Answer, Asked, WireServer

KEY = "wv-secret-key"
VERSION = "1.32.0"
EQUAL, ANY_OF = base_pb2.Filters.OPERATOR_EQUAL, base_pb2.Filters.OPERATOR_CONTAINS_ANY
LEVELS = {base_pb2.CONSISTENCY_LEVEL_QUORUM, base_pb2.CONSISTENCY_LEVEL_UNSPECIFIED}


class WeaviateWire(WireServer):
    """Classes by name, each with objects by tenant."""

    def __init__(self) -> None:
        super().__init__()
        self.classes: dict[str, dict[str, Any]] = {}
        self.held: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
        self.calls: list[str] = []
        """Names of the gRPC calls that came."""
        self.grpc_failures: list[tuple[grpc.StatusCode | None, float]] = []
        """(status, seconds to wait before), used one after another; no status: no answer."""
        self.refused: set[str] = set()
        """Ids of objects that are not stored."""
        self.version = VERSION

    def __enter__(self) -> Self:
        super().__enter__()
        self._pool = ThreadPoolExecutor(8)
        self._grpc = grpc.server(self._pool)
        weaviate_pb2_grpc.add_WeaviateServicer_to_server(Servicer(self), self._grpc)
        self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()
        self.grpc_url = f"http://127.0.0.1:{self.grpc_port}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._grpc.stop(None).wait()
        self._pool.shutdown()
        super().__exit__(kind, error, trace)

    # ------------------------------------------------------------- REST

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            return Answer({"code": 401, "message": "anonymous access not enabled"}, 401)
        parts = asked.path.split("/")[1:]
        assert parts[0] == "v1"
        if parts[1:] == ["meta"]:
            return Answer({"version": self.version, "hostname": self.url, "modules": {}})
        assert parts[1] == "schema"
        if len(parts) == 2:
            assert asked.method == "POST"
            return self._create(asked.body)
        name = parts[2]
        if parts[3:] == ["tenants"]:
            return self._tenants(asked, name)
        assert len(parts) == 3
        if asked.method == "DELETE":
            self.classes.pop(name, None)
            self.held.pop(name, None)
            return Answer()
        if name not in self.classes:
            return Answer(status=404)
        return Answer(self.classes[name])

    def _create(self, body: dict[str, Any]) -> Answer:
        name = body["class"]
        assert re.fullmatch(r"[A-Z][_0-9A-Za-z]{0,254}", name), name
        if name in self.classes:
            return Answer({"error": [{"message": f"class name {name} already exists"}]}, 422)
        for each in body["properties"]:
            assert re.fullmatch(r"[_A-Za-z][_0-9A-Za-z]{0,230}", each["name"])
            assert each["dataType"] in (["text"], ["text[]"])
            assert each["tokenization"] in ("field", "whitespace")
        (vector,) = body["vectorConfig"].values()
        assert vector["vectorizer"] == {"none": {}}
        assert vector["vectorIndexConfig"]["distance"] == "cosine"
        assert body["multiTenancyConfig"]["enabled"] is True
        assert body["multiTenancyConfig"]["autoTenantCreation"] is True
        self.classes[name] = _with_defaults(body)
        self.held[name] = {}
        return Answer(self.classes[name])

    def _tenants(self, asked: Asked, name: str) -> Answer:
        assert asked.method == "DELETE"
        for tenant in asked.body:
            self.held[name].pop(tenant, None)
        return Answer()


def _with_defaults(body: dict[str, Any]) -> dict[str, Any]:
    """What the server adds to what it is told."""
    inverted = {
        "cleanupIntervalSeconds": 60,
        "indexNullState": False,
        "indexPropertyLength": False,
        "indexTimestamps": False,
        **body["invertedIndexConfig"],
        "stopwords": {
            "additions": None,
            "removals": None,
            **body["invertedIndexConfig"]["stopwords"],
        },
    }
    vectors = {}
    for name, each in body["vectorConfig"].items():
        index = {
            "skip": False, "cleanupIntervalSeconds": 300, "maxConnections": 32,
            "efConstruction": 128, "ef": -1, "dynamicEfMin": 100, "dynamicEfMax": 500,
            "dynamicEfFactor": 8, "vectorCacheMaxObjects": 1_000_000_000_000,
            "flatSearchCutoff": 40_000, "filterStrategy": "sweeping",
            "pq": {"enabled": False}, "bq": {"enabled": False}, "sq": {"enabled": False},
        }  # fmt: skip
        vectors[name] = {
            "vectorIndexType": "hnsw",
            **each,
            "vectorIndexConfig": {**index, **each["vectorIndexConfig"]},
        }
    replication = {"asyncEnabled": False, "deletionStrategy": "NoAutomatedResolution"}
    return {
        **body,
        "invertedIndexConfig": inverted,
        "vectorConfig": vectors,
        "replicationConfig": {**replication, **body["replicationConfig"]},
        "shardingConfig": {},
    }


class Servicer(weaviate_pb2_grpc.WeaviateServicer):  # type: ignore[misc]
    """The gRPC side."""

    def __init__(self, wire: WeaviateWire) -> None:
        self.wire = wire

    def _begin(self, name: str, context: grpc.ServicerContext) -> None:
        self.wire.calls.append(name)
        if self.wire.grpc_failures:
            status, wait_s = self.wire.grpc_failures.pop(0)
            time.sleep(wait_s)
            if status is not None:
                context.abort(status, f"no, and {KEY} is none of your business")
        told = dict(context.invocation_metadata())
        if told.get("authorization") != f"Bearer {KEY}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthorized: invalid api key")

    def _guarded(self, name: str, context: grpc.ServicerContext, work: Any) -> Any:
        self._begin(name, context)
        try:
            with self.wire.lock:
                return work()
        except KeyError as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        except Exception as error:  # noqa: BLE001  (any failure is a problem of the request)
            self.wire.problems.append(f"{name}: {type(error).__name__} {error}")
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "what is this?")

    def _space(self, collection: str, tenant: str) -> dict[str, dict[str, Any]]:
        if collection not in self.wire.held:
            raise KeyError(f"could not find class {collection} in schema")
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tenant), tenant
        if tenant not in self.wire.held[collection]:
            raise KeyError(f'tenant not found: "{tenant}"')
        return self.wire.held[collection][tenant]

    def _properties(self, collection: str) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.wire.classes[collection]["properties"]}

    def BatchObjects(self, request: Any, context: grpc.ServicerContext) -> Any:
        def work() -> Any:
            assert request.ByteSize() < 10 * 2**20
            assert request.consistency_level in LEVELS
            reply = batch_pb2.BatchObjectsReply()
            for index, each in enumerate(request.objects):
                if each.collection not in self.wire.held or each.uuid in self.wire.refused:
                    reply.errors.add(index=index, error="not stored")
                    continue
                self.wire.held[each.collection].setdefault(each.tenant, {})
                space = self._space(each.collection, each.tenant)
                space[str(UUID(each.uuid))] = self._object(each)
            return reply

        return self._guarded("BatchObjects", context, work)

    def _object(self, each: Any) -> dict[str, Any]:
        known = self._properties(each.collection)
        kept: dict[str, Any] = dict(each.properties.non_ref_properties.items())
        for listed in each.properties.text_array_properties:
            kept[listed.prop_name] = list(listed.values)
        for name, value in kept.items():
            kind = known[name]["dataType"]
            assert isinstance(value, str if kind == ["text"] else list), name
        packed = [vector.vector_bytes for vector in each.vectors]
        raw = packed[0] if packed else each.vector_bytes
        kept["vector"] = np.frombuffer(raw, "<f4") if raw else None
        if kept["vector"] is not None:
            assert np.isfinite(kept["vector"]).all()
            assert kept["vector"].any()
        return kept

    def BatchDelete(self, request: Any, context: grpc.ServicerContext) -> Any:
        def work() -> Any:
            assert request.consistency_level in LEVELS
            space = self._space(request.collection, request.tenant)
            found = [id_ for id_, each in space.items() if self._fits(request, id_, each)]
            for id_ in found:
                del space[id_]
            return batch_delete_pb2.BatchDeleteReply(matches=len(found), successful=len(found))

        return self._guarded("BatchDelete", context, work)

    def TenantsGet(self, request: Any, context: grpc.ServicerContext) -> Any:
        def work() -> Any:
            reply = tenants_pb2.TenantsGetReply()
            for name in self.wire.held[request.collection]:
                hot = tenants_pb2.TENANT_ACTIVITY_STATUS_HOT
                reply.tenants.add(name=name, activity_status=hot)
            return reply

        return self._guarded("TenantsGet", context, work)

    def Aggregate(self, request: Any, context: grpc.ServicerContext) -> Any:
        def work() -> Any:
            assert request.objects_count
            space = self._space(request.collection, request.tenant)
            single = aggregate_pb2.AggregateReply.Single(objects_count=len(space))
            return aggregate_pb2.AggregateReply(single_result=single)

        return self._guarded("Aggregate", context, work)

    def Search(self, request: Any, context: grpc.ServicerContext) -> Any:
        def work() -> Any:
            space = self._space(request.collection, request.tenant)
            assert 1 <= request.limit <= 10_000
            assert request.consistency_level in LEVELS
            reply = search_get_pb2.SearchReply()
            for id_, score in self._found(request, space)[: request.limit]:
                self._tell(reply, request, id_, space[id_], score)
            return reply

        return self._guarded("Search", context, work)

    def _found(
        self, request: Any, space: dict[str, dict[str, Any]]
    ) -> list[tuple[str, float | None]]:
        if request.HasField("near_vector"):
            return self._near(request, space)
        if request.HasField("bm25_search"):
            return self._bm25(request, space)
        assert not request.HasField("filters"), "a cursor takes no filter"
        return [(id_, None) for id_ in sorted(space) if id_ > request.after]

    def _near(
        self, request: Any, space: dict[str, dict[str, Any]]
    ) -> list[tuple[str, float | None]]:
        asked = request.near_vector
        raw = asked.vectors[0].vector_bytes if asked.vectors else asked.vector_bytes
        question = np.frombuffer(raw, "<f4")
        assert question.any()
        scores: list[tuple[str, float | None]] = []
        for id_, each in space.items():
            if each["vector"] is None or not self._fits(request, id_, each):
                continue
            length = float(np.linalg.norm(each["vector"]) * np.linalg.norm(question))
            scores.append((id_, 1.0 - float(each["vector"] @ question) / length))
        return sorted(scores, key=lambda pair: pair[1] or 0.0)

    def _bm25(
        self, request: Any, space: dict[str, dict[str, Any]]
    ) -> list[tuple[str, float | None]]:
        (name,) = request.bm25_search.properties
        kind = self._properties(request.collection)[name]
        assert kind["indexSearchable"]
        assert kind["tokenization"] == "whitespace"
        config = self.wire.classes[request.collection]["invertedIndexConfig"]["bm25"]
        texts = {id_: each.get(name, "").split() for id_, each in space.items()}
        average = max(1.0, sum(map(len, texts.values())) / max(1, len(texts)))
        scores: list[tuple[str, float | None]] = []
        for id_, text in texts.items():
            if not self._fits(request, id_, space[id_]):
                continue
            norm = config["k1"] * (1 - config["b"] + config["b"] * len(text) / average)
            counts = [text.count(word) for word in request.bm25_search.query.split()]
            score = sum(count / (count + norm) for count in counts if count)
            if score:
                scores.append((id_, score))
        return sorted(scores, key=lambda pair: -(pair[1] or 0.0))

    def _fits(self, request: Any, id_: str, each: dict[str, Any]) -> bool:
        condition = request.filters
        name = condition.target.property
        if name == "_id":
            assert condition.operator == ANY_OF
            return id_ in set(condition.value_text_array.values)
        kind = self._properties(request.collection)[name]
        assert kind["indexFilterable"]
        assert kind["tokenization"] == "field"
        assert condition.operator == EQUAL
        value = each.get(name)
        # a field is trimmed before it is compared
        wanted = condition.value_text.strip()
        return wanted in value if isinstance(value, list) else value is not None and value == wanted

    def _tell(
        self, reply: Any, request: Any, id_: str, each: dict[str, Any], score: float | None
    ) -> None:
        told = reply.results.add()
        for name in request.properties.non_ref_properties:
            value = properties_pb2.Value(text_value=each[name])
            told.properties.non_ref_props.fields[name].CopyFrom(value)
        told.metadata.id = id_
        told.metadata.id_as_bytes = UUID(id_).bytes
        if request.metadata.distance and score is not None:
            told.metadata.distance, told.metadata.distance_present = score, True
        if request.metadata.score and score is not None:
            told.metadata.score, told.metadata.score_present = score, True
