"""A server that does nothing: `python -m serverside.bare_app PORT`.

It answers every request at once with the same search result. What it reaches is what the load
generator and the loopback can do, and no server measured here can be faster.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
RESULT = {
    "id": "01a214c4-eaea-7001-b1fb-306319963d96",
    "memory": "I moved to Lisbon with my dog in March, and then I met an old friend there.",
    "created_at": "2026-11-25T22:12:59.242268+00:00",
    "score": 0.2147923707962036,
}
_BODY = json.dumps({"results": [RESULT] * 20}).encode()
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


class Bare(asyncio.Protocol):
    """Answers one request after the other."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            told = _LENGTH.search(self._buffer, 0, end)
            size = end + 4 + (int(told[1]) if told else 0)
            if len(self._buffer) < size:
                return
            del self._buffer[:size]
            self._transport.write(_ANSWER)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
