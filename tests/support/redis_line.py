"""A line to a real Redis that is cut, hangs, or is answered by something else."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from support.redis import free_port

ANSWERS: Final = {
    "erroring": b"-ERR planted\r\n",
    "garbage": b"$7\r\nrubbish\r\n",
    "rubble": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}
"""What it says to each command, whatever that is."""


class RedisLine:
    """Passes everything on until it is told a fault: `down`, `slow`, or one of ANSWERS."""

    def __init__(self, port: int) -> None:
        """`port`: of the Redis."""
        self._port = port
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.fault = ""
        self.asked = 0
        """Calls that came while there was a fault."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def fail(self, how: str) -> None:
        """Fail from now on, on the connections there are as well."""
        self.fault = how
        if how == "down":
            await self.close()

    async def close(self) -> None:
        """Hang up, and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        passing = asyncio.create_task(self._pass_back(back, writer))
        try:
            while said := await reader.read(1 << 16):
                if not self.fault:
                    forth.write(said)
                    continue
                self.asked += 1
                if self.fault != "slow":  # each command of a pipeline is an array of its own
                    writer.write(ANSWERS[self.fault] * max(1, said.count(b"*")))
        except asyncio.CancelledError:
            pass  # hung up
        finally:
            self._tasks.discard(task)
            passing.cancel()
            for each in (writer, forth):
                each.close()
                with suppress(OSError):
                    await each.wait_closed()
            await asyncio.gather(passing, return_exceptions=True)

    async def _pass_back(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await back.read(1 << 16):
            writer.write(said)
