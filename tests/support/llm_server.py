"""A scripted OpenAI-compatible server on a real socket, for tests of language models and embedders.

`say(...)` queues replies to chat completions, `vectors(...)` replies to embeddings; each is used
once, the last one again and again. Every request is kept in `requests`.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    body: Body | str | None = None
    """JSON to answer with, text to send as it is, or None for what `make` gives."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    reset: bool = False
    """Break the connection with a TCP reset instead of answering."""
    make: Callable[[Body], Body | Reply] | None = None
    """Builds the answer, or the whole reply, from the request."""


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: Body
    raw: bytes = b""
    """The body before it was read as JSON."""


def chat(
    text: str | None,
    *,
    finish: str = "stop",
    reasoning: str | None = None,
    refusal: str | None = None,
    arguments: str | None = None,
    usage: tuple[int, int, int] = (100, 80, 20),
    delay_s: float = 0.0,
) -> Reply:
    """A chat completion; `arguments` makes it a tool call, `usage` is input, cached, output."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    if refusal is not None:
        message["refusal"] = refusal
    if arguments is not None:
        call = {"name": "answer", "arguments": arguments}
        message["tool_calls"] = [{"id": "call-1", "type": "function", "function": call}]
    given, cached, made = usage
    return Reply(
        delay_s=delay_s,
        body={
            "id": "chat-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "scripted",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {
                "prompt_tokens": given,
                "completion_tokens": made,
                "total_tokens": given + made,
                "prompt_tokens_details": {"cached_tokens": cached},
            },
        },
    )


def failure(status: int, message: str = "no", code: str | None = None, **headers: str) -> Reply:
    """An error as OpenAI words it; `retry_after="2"` becomes the header Retry-After."""
    error = {"message": message, "type": "test_error", "code": code, "param": None}
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Reply(body={"error": error}, status=status, headers=named)


def reset() -> Reply:
    """The connection breaks."""
    return Reply(reset=True)


def embedding(rows: Sequence[Sequence[float]]) -> Reply:
    """These vectors, whatever was asked."""
    return Reply(body=_embedding_body(rows))


def hashed_vectors(dimensions: int) -> Reply:
    """For each text a vector of its own, the same every time."""

    def make(body: Body) -> Body:
        return _embedding_body([hashed_vector(text, dimensions) for text in body["input"]])

    return Reply(make=make)


def hashed_vector(text: str, dimensions: int) -> list[float]:
    """The vector `hashed_vectors` gives for a text, not normalised."""
    digest = hashlib.shake_128(text.encode()).digest(dimensions)
    return [byte - 127.5 for byte in digest]


def _embedding_body(rows: Sequence[Sequence[float]]) -> Body:
    data = [
        {"object": "embedding", "index": i, "embedding": list(row)} for i, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": 7 * len(rows), "total_tokens": 7 * len(rows)}
    return {"object": "list", "model": "scripted", "data": data, "usage": usage}


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class LLMServer:
    """The server: a context manager; `url` is the base URL to configure."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.busiest = 0
        """Most requests that were in work at the same moment."""
        self._working = 0
        self._lock = threading.Condition()
        self._closing = threading.Event()
        self._scripts: dict[str, list[Reply]] = {}
        self._http = _server(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> LLMServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on. Idempotent."""
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def say(self, *replies: Reply | str) -> None:
        """Replies to chat completions, in order; a text is the content of a good one."""
        self._scripts["/chat/completions"] = [
            chat(reply) if isinstance(reply, str) else reply for reply in replies
        ]

    def vectors(self, *replies: Reply) -> None:
        """Replies to embeddings, in order."""
        self._scripts["/embeddings"] = list(replies)

    def answer_all(self, *replies: Reply) -> None:
        """Replies to whatever is asked, for APIs that are not OpenAI's."""
        self._scripts[""] = list(replies)

    @property
    def bodies(self) -> list[Body]:
        """The bodies of all requests."""
        return [request.body for request in self.requests]

    def wait_for_requests(self, count: int, timeout_s: float = 10.0) -> None:
        """Block until so many requests have arrived; AssertionError if they do not."""
        with self._lock:
            arrived = self._lock.wait_for(lambda: len(self.requests) >= count, timeout_s)
        assert arrived, f"{len(self.requests)} requests arrived, {count} were expected"

    def handle(self, request: Request) -> Reply:
        """Take down a request and choose its reply, waiting if the script says so."""
        with self._lock:
            self.requests.append(request)
            self._lock.notify_all()
            self._working += 1
            self.busiest = max(self.busiest, self._working)
            path = request.path.partition("?")[0]
            script = next((self._scripts[end] for end in self._scripts if path.endswith(end)), [])
            reply = failure(404, "no such route") if not script else script[0]
            if script and len(script) > 1:
                script.pop(0)
        self._closing.wait(reply.delay_s)
        with self._lock:
            self._working -= 1
        return reply


def _server(owner: LLMServer) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body: Body = json.loads(raw)
            reply = owner.handle(Request(self.path, _lower(self.headers), body, raw))
            if reply.make is not None:
                made = reply.make(body)
                reply = made if isinstance(made, Reply) else Reply(body=made)
            if reply.reset:
                _break(self.connection)
                self.close_connection = True
            else:
                self._send(reply)

        def _send(self, reply: Reply) -> None:
            plain = isinstance(reply.body, str)
            content = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            kind = "text/plain" if plain else "application/json"
            data = content.encode()
            headers = {"Content-Type": kind, **reply.headers, "Content-Length": str(len(data))}
            try:
                self.send_response(reply.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client had enough of waiting

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up is part of the game."""

    return Server(("127.0.0.1", 0), Handler)


def _break(connection: socket.socket) -> None:
    """Close with a reset: unsent data is thrown away and the peer gets ECONNRESET."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RD)
    connection.close()
