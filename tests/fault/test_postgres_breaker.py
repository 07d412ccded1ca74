"""A Postgres that takes connections and never answers keeps a few callers, not all of them."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from holdfast.backends.postgres.pool import Pool
from holdfast.backends.postgres.settings import PostgresSettings
from holdfast.errors import StoreUnavailableError

AT_ONCE = 3


class Mute:
    """Takes connections and says nothing."""

    def __init__(self) -> None:
        self.taken: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                self.taken.append(self._listening.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)
        for one in self.taken:
            one.close()


@pytest.fixture
def mute() -> Iterator[Mute]:
    server = Mute()
    yield server
    server.close()


def pool_of(port: int) -> Pool:
    url = f"postgresql://ann:pw@127.0.0.1:{port}/db?sslmode=disable&gssencmode=disable"
    return Pool(
        PostgresSettings(url=url, pool_max=AT_ONCE, connect_timeout_s=2.0, pool_timeout_s=60.0)
    )


async def lend(pool: Pool) -> StoreUnavailableError:
    with pytest.raises(StoreUnavailableError) as caught:
        async with pool.connection():
            raise AssertionError("nobody answers there")
    return caught.value


async def test_those_who_come_later_are_told_at_once_when_to_come_again(mute: Mute) -> None:
    pool = pool_of(mute.port)
    began = time.monotonic()
    errors = await asyncio.gather(*(lend(pool) for _ in range(4 * AT_ONCE)))
    took_s = time.monotonic() - began
    # whoever gets a place before the third failure is taken down still tries
    assert AT_ONCE <= len(mute.taken) < 2 * AT_ONCE, "the others did not try"
    assert took_s < 3 * 2.0, "and did not wait for one another, which takes four times the timeout"
    told = [error.retry_after_s for error in errors if error.retry_after_s is not None]
    assert len(told) > 2 * AT_ONCE
    assert min(told) >= 1.0
    pool.close()


async def test_after_a_pause_one_tries_again(mute: Mute) -> None:
    pool = pool_of(mute.port)
    await asyncio.gather(*(lend(pool) for _ in range(AT_ONCE)))
    await asyncio.sleep(0.3)
    await asyncio.gather(*(lend(pool) for _ in range(AT_ONCE)))
    assert len(mute.taken) == AT_ONCE + 1
    pool.close()
