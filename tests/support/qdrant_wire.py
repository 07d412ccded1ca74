"""Qdrant's REST interface on a socket, in front of its real engine.

Every request must have the form that Qdrant publishes: bodies are read by the models that
qdrant-client generates from its OpenAPI document, which take no unknown fields. `fail(...)` queues
replies that are given instead of answers, each once. All requests are kept in `requests`.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import TypeAdapter, ValidationError
from qdrant_client.http import models

from support.qdrant_engine import Engine, NoCollectionError

PARAMETERS: Final = {
    "wait": str,
    "ordering": models.WriteOrdering,
    "consistency": models.ReadConsistencyType,
    "timeout": int,
}
"""Known parameters of the address."""
SELECTOR: Final[TypeAdapter[Any]] = TypeAdapter(models.PointIdsList | models.FilterSelector)


@dataclass(frozen=True)
class Fault:
    """A reply instead of an answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    answer: bool = False
    """Carry the request out and give its answer all the same."""
    cut: bool = False
    """Announce a longer body than is sent, then close."""
    reset: bool = False


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class Refusal(Exception):
    """An answer with another status than 200."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class QdrantWire:
    """A server on a free port of this machine; `url` is its address."""

    def __init__(self, engine: Engine, api_key: str | None = None) -> None:
        self.engine = engine
        self.requests: list[Asked] = []
        self.metadata = True
        """Whether collections keep their metadata, as they do from Qdrant 1.16 on."""
        self._api_key = api_key
        self._faults: list[Fault] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.wire = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def fail(self, *faults: Fault) -> None:
        self._faults += faults

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def paths(self) -> list[str]:
        """Method and path of each request, the collection's name left out."""
        return [f"{each.method} {_short(each.path)}" for each in self.requests]

    def fault(self) -> Fault | None:
        return self._faults.pop(0) if self._faults else None

    def answer(self, asked: Asked) -> Any:
        """The result. Raises Refusal."""
        if self._api_key is not None and asked.headers.get("api-key") != self._api_key:
            raise Refusal(401, "Must provide an API key or an Authorization bearer token")
        for name, value in asked.params.items():
            if name not in PARAMETERS:
                raise Refusal(400, f"unknown parameter {name}")
            PARAMETERS[name](value)
        for method, pattern, route in ROUTES:
            found = re.fullmatch(pattern, asked.path)
            if found and method == asked.method:
                try:
                    return route(self, unquote(found[1]), asked.body)
                except NoCollectionError:
                    raise Refusal(404, "Not found: Collection doesn't exist!") from None
                except ValidationError as error:
                    raise Refusal(400, f"Format error in JSON body: {error}") from None
        raise Refusal(404, f"no such route: {asked.method} {asked.path}")


def _short(path: str) -> str:
    return re.sub(r"/collections/[^/]+", "", path) or "/"


def _info(wire: QdrantWire, name: str, _: Any) -> Any:
    return collection_info(wire.engine, name, metadata=wire.metadata)


def collection_info(engine: Engine, name: str, *, metadata: bool = True) -> dict[str, Any]:
    """What is told about a collection, as JSON."""
    held = engine.of(name)
    form = held.form
    wanted = form.hnsw_config or models.HnswConfigDiff()
    optimizers = form.optimizers_config or models.OptimizersConfigDiff()
    factors = {
        key: getattr(form, key) or 1
        for key in ("shard_number", "replication_factor", "write_consistency_factor")
    }
    return {
        "status": "green",
        "optimizer_status": "ok",
        "points_count": 0,
        "segments_count": 1,
        "config": {
            "params": {
                "vectors": _dump(form.vectors),
                "sparse_vectors": _dump(form.sparse_vectors),
                "on_disk_payload": form.on_disk_payload is not False,
                **factors,
            },
            "hnsw_config": {
                "ef_construct": 100,
                "full_scan_threshold": 10_000,
                "m": 16,
                **wanted.model_dump(mode="json", exclude_none=True),
            },
            "optimizer_config": {
                "default_segment_number": 0,
                "flush_interval_sec": 5,
                **optimizers.model_dump(mode="json", exclude_none=True),
            },
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
            "quantization_config": _dump(form.quantization_config),
            "metadata": form.metadata if metadata else None,
        },
        "payload_schema": {
            key: {"data_type": "keyword", "params": _dump(params), "points": 0}
            for key, params in held.indexes.items()
        },
    }


def _dump(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _dump(each) for key, each in value.items()}
    return None if value is None else value.model_dump(mode="json", exclude_none=True)


def _create(wire: QdrantWire, name: str, body: Any) -> Any:
    if not wire.engine.create(name, models.CreateCollection.model_validate(body)):
        raise Refusal(409, f"Wrong input: Collection `{name}` already exists!")
    return True


def _update(wire: QdrantWire, name: str, body: Any) -> Any:
    """Only what is told about the collection changes; the engine stays as it is."""
    form, wish = wire.engine.of(name).form, models.UpdateCollection.model_validate(body)
    changed: dict[str, Any] = {}
    for key, part in (
        ("hnsw_config", wish.hnsw_config),
        ("optimizers_config", wish.optimizers_config),
    ):
        if part is not None:
            kept = getattr(form, key)
            kept = {} if kept is None else kept.model_dump(exclude_none=True)
            changed[key] = type(part)(**{**kept, **part.model_dump(exclude_none=True)})
    if wish.params is not None:
        changed |= wish.params.model_dump(exclude_none=True)
    if wish.quantization_config is not None:
        gone = wish.quantization_config == models.Disabled.DISABLED
        changed["quantization_config"] = None if gone else wish.quantization_config
    for key, vector in (wish.vectors or {}).items():
        assert isinstance(form.vectors, dict)
        on_disk = form.vectors[key].model_copy(update={"on_disk": vector.on_disk})
        changed["vectors"] = {**form.vectors, key: on_disk}
    wire.engine.of(name).form = form.model_copy(update=changed)
    return True


def _drop(wire: QdrantWire, name: str, _: Any) -> Any:
    return wire.engine.drop(name)


def _index(wire: QdrantWire, name: str, body: Any) -> Any:
    wanted = models.CreateFieldIndex.model_validate(body)
    assert isinstance(wanted.field_schema, models.KeywordIndexParams)
    wire.engine.index(name, wanted.field_name, wanted.field_schema)
    return _done()


def _upsert(wire: QdrantWire, name: str, body: Any) -> Any:
    wire.engine.upsert(name, models.PointsList.model_validate(body).points)
    return _done()


def _delete(wire: QdrantWire, name: str, body: Any) -> Any:
    wire.engine.delete(name, SELECTOR.validate_python(body))
    return _done()


def _done() -> Any:
    return {"operation_id": 1, "status": "completed"}


def _query(wire: QdrantWire, name: str, body: Any) -> Any:
    (found,) = wire.engine.query(name, [models.QueryRequest.model_validate(body)])
    return {"points": found}


def _query_batch(wire: QdrantWire, name: str, body: Any) -> Any:
    wanted = models.QueryRequestBatch.model_validate(body).searches
    return [{"points": found} for found in wire.engine.query(name, wanted)]


def _scroll(wire: QdrantWire, name: str, body: Any) -> Any:
    found, after = wire.engine.scroll(name, models.ScrollRequest.model_validate(body))
    return {"points": found, "next_page_offset": after}


def _count(wire: QdrantWire, name: str, body: Any) -> Any:
    return {"count": wire.engine.count(name, models.CountRequest.model_validate(body))}


_NAME: Final = r"/collections/([^/]+)"
ROUTES: Final[tuple[tuple[str, str, Callable[[QdrantWire, str, Any], Any]], ...]] = (
    ("GET", _NAME, _info),
    ("PUT", _NAME, _create),
    ("PATCH", _NAME, _update),
    ("DELETE", _NAME, _drop),
    ("PUT", f"{_NAME}/index", _index),
    ("PUT", f"{_NAME}/points", _upsert),
    ("POST", f"{_NAME}/points/delete", _delete),
    ("POST", f"{_NAME}/points/query", _query),
    ("POST", f"{_NAME}/points/query/batch", _query_batch),
    ("POST", f"{_NAME}/points/scroll", _scroll),
    ("POST", f"{_NAME}/points/count", _count),
)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    wire: QdrantWire


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the output of the tests free of access logs."""

    def _handle(self) -> None:
        wire = self.server.wire
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        asked = Asked(
            self.command,
            parts.path,
            {name: values[0] for name, values in parse_qs(parts.query).items()},
            {name.lower(): value for name, value in self.headers.items()},
            json.loads(raw) if raw else None,
        )
        wire.requests.append(asked)
        fault = wire.fault()
        if fault is None:
            self._send(*_answered(wire, asked))
            return
        self._fail(wire, asked, fault)

    def do_GET(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PATCH(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def _fail(self, wire: QdrantWire, asked: Asked, fault: Fault) -> None:
        time.sleep(fault.delay_s)
        if fault.reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
            return
        status, body = _answered(wire, asked) if fault.answer else (fault.status, fault.body)
        self._send(status, body, fault.headers, longer=10 if fault.cut else 0)

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, longer: int = 0
    ) -> None:
        try:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body) + longer))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True
        if longer:
            self.close_connection = True


def _answered(wire: QdrantWire, asked: Asked) -> tuple[int, bytes]:
    try:
        told: dict[str, Any] = {"result": wire.answer(asked), "status": "ok"}
        status = 200
    except Refusal as refusal:
        status, told = refusal.status, {"status": {"error": str(refusal)}}
    return status, json.dumps({**told, "time": 0.0}).encode()
