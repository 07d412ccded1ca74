"""An HTTP server on a real socket that stands for a vendor's, and fails when it is told to.

A subclass answers; what it finds wrong with a request goes into `problems`, and the test that used
it fails.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Answer:
    """What goes back: JSON, or bytes as they are."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut: bool = False
    """Break the connection instead."""


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    size: int


class WireServer:
    """A context manager; `url` is where it listens."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.problems: list[str] = []
        self.failures: list[Answer] = []
        """Used one after another before anything is answered."""
        self.lock = threading.RLock()
        self._closing = threading.Event()

    def answer(self, asked: Asked) -> Answer:
        """What a subclass answers; an AssertionError becomes a problem and a 400."""
        raise NotImplementedError

    def handled(self, asked: Asked) -> Answer:
        with self.lock:
            self.asked.append(asked)
            if self.failures:
                return self.failures.pop(0)
            try:
                return self.answer(asked)
            except Exception as error:  # noqa: BLE001  (any failure is a problem of the request)
                self.problems.append(f"{asked.method} {asked.path}: {type(error).__name__} {error}")
                return Answer({"error": {"code": "INVALID_ARGUMENT", "message": str(error)}}, 400)

    def wait(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def __enter__(self) -> Self:
        self._server = _Listening(("127.0.0.1", 0), type("Handler", (_Handler,), {"wire": self}))
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A connection that breaks is what some tests want."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wire: WireServer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _any(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(size)
        parts = urlsplit(self.path)
        asked = Asked(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=json.loads(raw) if raw else None,
            size=size,
        )
        self._send(self.wire.handled(asked))

    def _send(self, told: Answer) -> None:
        self.wire.wait(told.delay_s)
        if told.cut:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
            return
        text = told.body if isinstance(told.body, bytes) else json.dumps(told.body).encode()
        if told.body is None:
            text = b""
        try:
            self.send_response(told.status)
            self.send_header("content-type", "application/json")
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        except OSError:  # whoever asked has gone
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _any  # noqa: N815
