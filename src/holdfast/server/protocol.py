"""The connection: heads of requests that are too long or too slow, and connections beyond a bound.

uvicorn's protocol waits for a head as long as its sender likes, takes one of any length, and keeps
every connection it is offered. The layers of `stack` see a request only when its head is there.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from holdfast import limits


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol within bounds; `bounded` makes one for a server's settings."""

    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    connections_max: int = 2_048

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _too_long = False
    _crowded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        count = len(self.connections)
        # a few more, for health checks: a full server is not a dead one
        self._crowded = count > self.connections_max
        if count > self.connections_max + limits.HEALTH_CONNECTIONS:
            self._refuse(503, "Service Unavailable", "OVERLOADED", "Too many connections.")
            return
        self._wait(self.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._timer is None:  # line breaks between requests begin none, and cost time too
                self._wait(self.header_timeout_s)
        super().data_received(data)
        # what is left of the head is still in the parser, which has no bound of its own
        if self._in_head and self._head_bytes > limits.HEADER_BYTES_MAX:
            self._too_long = True
        if self._too_long and not self.transport.is_closing():
            self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._seen = 0
        self.scope["holdfast_crowded"] = self._crowded  # type: ignore[typeddict-unknown-key]
        self._wait(self.header_timeout_s)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        # The layers answer a body that is too slow; this ends a connection that goes on sending
        # after its answer.
        self._wait(self.body_timeout_s + limits.BODY_GRACE_S)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_waiting()
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._too_long:
            told = f"The head of the request has more than {limits.HEADER_BYTES_MAX:,} bytes."
            self._refuse(431, "Request Header Fields Too Large", "TOO_LARGE", told)
        else:
            self._refuse(400, "Bad Request", "VALIDATION", "This is not an HTTP request.")

    def _count(self, size: int) -> None:
        self._seen += size
        if self._seen > limits.HEADER_BYTES_MAX:
            self._too_long = True
            raise ValueError("the head is too long")  # the parser ends, and the answer is 431

    def _wait(self, timeout_s: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(timeout_s, self._tired)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tired(self) -> None:
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if self._in_head and cycle is not None and not cycle.response_complete:
            self._wait(self.header_timeout_s)  # its last request is being worked on
        elif self._in_head and self._head_bytes:
            told = f"The head of the request took more than {self.header_timeout_s:g} s."
            self._refuse(408, "Request Timeout", "REQUEST_TIMEOUT", told)
        else:
            self.transport.close()

    def _refuse(self, status: int, phrase: str, code: str, told: str) -> None:
        """Answer what never became a request, and close."""
        body = json.dumps({"detail": told, "error": told, "code": code, "request_id": ""}).encode()
        head = [
            f"HTTP/1.1 {status} {phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
        ]
        if status == 503:
            head.append("retry-after: 1")
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()


def bounded(
    *, header_timeout_s: float, body_timeout_s: float, connections_max: int
) -> type[asyncio.Protocol]:
    """The protocol of a server with these bounds."""
    own: dict[str, Any] = {
        "header_timeout_s": header_timeout_s,
        "body_timeout_s": body_timeout_s,
        "connections_max": connections_max,
    }
    return type("BoundedProtocol", (GuardedProtocol,), own)
