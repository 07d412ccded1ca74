"""A server of a few lines that answers as a script says: what stands between, and what fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """One answer; `breaks` closes the connection instead, `delay_s` waits before it."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    breaks: bool = False
    delay_s: float = 0.0


def problem(status: int, code: str, **headers: str) -> Answer:
    """An error as a Holdfast server tells it."""
    told = {"detail": f"{code} happened.", "error": f"{code} happened.", "code": code}
    return Answer(status, told, {name.replace("_", "-"): text for name, text in headers.items()})


@dataclass
class Scripted:
    """The server's address, and what it was asked so far."""

    url: str
    answers: list[Answer]
    """The next answers; the last one is given again and again."""
    asked: list[tuple[str, Any]] = field(default_factory=list)


@contextmanager
def scripted(*answers: Answer) -> Iterator[Scripted]:
    """Serve the answers in turn on a free port of this machine."""
    state = Scripted("", list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            state.asked.append((self.path, json.loads(body or b"null")))
            answer = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
            time.sleep(answer.delay_s)
            if answer.breaks:
                self.close_connection = True
                return
            text = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body)
            data = text if isinstance(text, bytes) else text.encode()
            self.send_response(answer.status)
            for name, value in {"content-length": str(len(data)), **answer.headers}.items():
                self.send_header(name, value)
            with suppress(ConnectionError):  # whoever asked has gone
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
