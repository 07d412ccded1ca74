"""Qdrant's gRPC interface on a socket, in front of its real engine.

Messages are those of Qdrant's published protocol; qdrant-client's own converters read them. What
a message has that they do not know fails the call.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from qdrant_client import grpc as q
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.http import models

from support.qdrant_engine import Engine, NoCollectionError
from support.qdrant_wire import collection_info

T = TypeVar("T")
Failure = tuple[grpc.StatusCode, str, int | None]
"""Code, details, and seconds after which to try again."""


class QdrantGrpc:
    """A server on a free port of this machine."""

    def __init__(self, engine: Engine, api_key: str | None = None) -> None:
        self.engine = engine
        self.calls: list[Any] = []
        """The messages that came."""
        self.failures: list[Failure] = []
        self.api_key = api_key
        self._server = grpc.server(ThreadPoolExecutor(4, thread_name_prefix="qdrant-grpc"))
        q.points_service_pb2_grpc.add_PointsServicer_to_server(_Points(self), self._server)
        q.collections_service_pb2_grpc.add_CollectionsServicer_to_server(
            _Collections(self), self._server
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        self._server.stop(None).wait()

    def answer(self, message: Any, context: grpc.ServicerContext, make: Callable[[], T]) -> T:
        """What `make` gives, unless the call is to fail."""
        self.calls.append(message)
        if self.failures:
            code, details, retry_after_s = self.failures.pop(0)
            if retry_after_s is not None:
                context.set_trailing_metadata((("retry-after", str(retry_after_s)),))
            context.abort(code, details)
        told = dict(context.invocation_metadata())
        if self.api_key is not None and told.get("api-key") != self.api_key:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key")
        try:
            return make()
        except NoCollectionError:
            context.abort(grpc.StatusCode.NOT_FOUND, "Not found: Collection doesn't exist!")
            raise


class _Collections(q.collections_service_pb2_grpc.CollectionsServicer):
    def __init__(self, served: QdrantGrpc) -> None:
        self._served = served

    def Get(self, request: Any, context: Any) -> Any:
        def make() -> Any:
            told = collection_info(self._served.engine, request.collection_name)
            told = {**told, "optimizer_status": models.OptimizersStatusOneOf.OK}
            info = models.CollectionInfo.model_validate(told)
            return q.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))

        return self._served.answer(request, context, make)

    def Create(self, request: Any, context: Any) -> Any:
        def make() -> Any:
            if not self._served.engine.create(request.collection_name, _form(request)):
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "Collection already exists!")
            return q.CollectionOperationResponse(result=True)

        return self._served.answer(request, context, make)

    def Delete(self, request: Any, context: Any) -> Any:
        def make() -> Any:
            gone = self._served.engine.drop(request.collection_name)
            return q.CollectionOperationResponse(result=gone)

        return self._served.answer(request, context, make)


def _form(request: Any) -> models.CreateCollection:
    given = {field.name for field, _ in request.ListFields()}
    known = {"collection_name", "hnsw_config", "on_disk_payload", "vectors_config", "metadata"}
    assert given <= known | {"sparse_vectors_config", "timeout"}, given
    return models.CreateCollection(
        vectors=GrpcToRest.convert_vectors_config(request.vectors_config),
        sparse_vectors=GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config),
        hnsw_config=GrpcToRest.convert_hnsw_config_diff(request.hnsw_config),
        on_disk_payload=request.on_disk_payload,
        metadata=GrpcToRest.convert_payload(request.metadata),
    )


class _Points(q.points_service_pb2_grpc.PointsServicer):
    def __init__(self, served: QdrantGrpc) -> None:
        self._served = served

    def CreateFieldIndex(self, request: Any, context: Any) -> Any:
        def make() -> Any:
            wanted = request.field_index_params.keyword_index_params
            params = models.KeywordIndexParams(
                type=models.KeywordIndexType.KEYWORD, is_tenant=wanted.is_tenant
            )
            self._served.engine.index(request.collection_name, request.field_name, params)
            return _done()

        return self._served.answer(request, context, make)

    def Upsert(self, request: Any, context: Any) -> Any:
        def make() -> Any:
            points = [GrpcToRest.convert_point_struct(point) for point in request.points]
            self._served.engine.upsert(request.collection_name, points)
            return _done()

        return self._served.answer(request, context, make)

    def Delete(self, request: Any, context: Any) -> Any:
        def make() -> Any:
            selector = GrpcToRest.convert_points_selector(request.points)
            self._served.engine.delete(request.collection_name, selector)
            return _done()

        return self._served.answer(request, context, make)

    def Query(self, request: Any, context: Any) -> Any:
        def make() -> Any:
            wanted = GrpcToRest.convert_query_points(request)
            (found,) = self._served.engine.query(request.collection_name, [wanted])
            return q.QueryResponse(result=_scored(found))

        return self._served.answer(request, context, make)

    def QueryBatch(self, request: Any, context: Any) -> Any:
        def make() -> Any:
            wanted = [GrpcToRest.convert_query_points(each) for each in request.query_points]
            found = self._served.engine.query(request.collection_name, wanted)
            batches = [q.BatchResult(result=_scored(each)) for each in found]
            return q.QueryBatchResponse(result=batches)

        return self._served.answer(request, context, make)

    def Scroll(self, request: Any, context: Any) -> Any:
        def make() -> Any:
            wanted = models.ScrollRequest(
                filter=GrpcToRest.convert_filter(request.filter),
                offset=(
                    GrpcToRest.convert_point_id(request.offset)
                    if request.HasField("offset")
                    else None
                ),
                limit=request.limit,
                with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            )
            found, after = self._served.engine.scroll(request.collection_name, wanted)
            records = [
                q.RetrievedPoint(
                    id=RestToGrpc.convert_extended_point_id(each["id"]),
                    payload=RestToGrpc.convert_payload(each["payload"]),
                )
                for each in found
            ]
            following = None if after is None else RestToGrpc.convert_extended_point_id(after)
            return q.ScrollResponse(next_page_offset=following, result=records)

        return self._served.answer(request, context, make)

    def Count(self, request: Any, context: Any) -> Any:
        def make() -> Any:
            selected = (
                GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None
            )
            wanted = models.CountRequest(filter=selected, exact=request.exact)
            found = self._served.engine.count(request.collection_name, wanted)
            return q.CountResponse(result=q.CountResult(count=found))

        return self._served.answer(request, context, make)


def _done() -> Any:
    done = q.UpdateResult(operation_id=1, status=q.UpdateStatus.Completed)
    return q.PointsOperationResponse(result=done)


def _scored(found: list[dict[str, Any]]) -> list[Any]:
    return [
        q.ScoredPoint(
            id=RestToGrpc.convert_extended_point_id(each["id"]),
            payload=RestToGrpc.convert_payload(each["payload"]),
            score=each["score"],
            version=each["version"],
        )
        for each in found
    ]
