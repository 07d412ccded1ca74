"""Whether models of other machines can be reached: a connection, and nothing that is paid for.

A look opens a connection to the address a model is asked at, with the TLS handshake if it has one,
and closes it: no request is sent. What it came to is remembered, so that whoever asks often causes
few of them.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from msgspec.structs import replace

from holdfast.limits import DEPENDENCY_TIMEOUT_S, ENDPOINT_AGE_MAX_S
from holdfast.metrics import Part
from holdfast.model import Struct

_PORTS: Final = {"http": 80, "https": 443}


@runtime_checkable
class Addressed(Protocol):
    """A model that is asked at an address of its own; None where that is not known."""

    address: str | None


class Look(Struct, frozen=True, kw_only=True):
    """What a connection came to. Times are epoch seconds, 0 for never."""

    reached: bool = False
    took_s: float = 0.0
    """Until it was made, or given up."""
    at: float = 0.0
    reached_at: float = 0.0
    """The last time that it was made."""


class Endpoint(Struct, frozen=True):
    """Where a connection is made to."""

    host: str
    port: int
    tls: bool


def endpoint_of(address: str | None) -> Endpoint | None:
    """The endpoint of a URL; None if it has none, or calls go there through a proxy."""
    try:
        url = urlsplit(address or "")
        port = url.port or _PORTS.get(url.scheme)
    except ValueError:
        return None
    if not url.hostname or port is None or _proxied(url.scheme, url.hostname):
        return None
    return Endpoint(url.hostname, port, url.scheme == "https")


def _proxied(scheme: str, host: str) -> bool:
    """Whether the environment sends calls of this scheme elsewhere first."""
    proxies = getproxies()
    return bool((scheme in proxies or "all" in proxies) and not proxy_bypass(host))


class Endpoints:
    """The endpoints of a deployment's models, and how the last look at each went."""

    def __init__(self, models: Mapping[Part, Sequence[object]], now: Callable[[], float]) -> None:
        """`models`: those of each part in the order in which they are asked; `now`: epoch seconds.

        Those that do not tell their address are left out.
        """
        self._of: dict[Part, list[Endpoint]] = {
            part: [found for model in some if (found := _told(model)) is not None]
            for part, some in models.items()
        }
        self._now = now
        self._looks = {each: Look() for some in self._of.values() for each in some}
        self._looked: dict[Endpoint, float] = {}
        self._looking = {each: asyncio.Lock() for each in self._looks}
        self._context: ssl.SSLContext | None = None

    async def of(self, part: Part) -> list[Look]:
        """How the endpoints of a part are reached, in order; none if no address is known."""
        return list(await asyncio.gather(*map(self._look, self._of.get(part, ()))))

    async def _look(self, endpoint: Endpoint) -> Look:
        async with self._looking[endpoint]:  # who comes meanwhile waits for this look
            last = self._looked.get(endpoint)
            if last is None or time.monotonic() - last > ENDPOINT_AGE_MAX_S:
                self._looks[endpoint] = await self._anew(endpoint)
                self._looked[endpoint] = time.monotonic()
            return self._looks[endpoint]

    async def _anew(self, endpoint: Endpoint) -> Look:
        began, at = time.perf_counter(), self._now()
        try:
            async with asyncio.timeout(DEPENDENCY_TIMEOUT_S):
                await self._connect(endpoint)
        except (OSError, TimeoutError):  # refused, not found, no answer, a bad certificate
            before = self._looks[endpoint]
            took_s = time.perf_counter() - began
            return replace(before, reached=False, took_s=took_s, at=at)
        return Look(reached=True, took_s=time.perf_counter() - began, at=at, reached_at=at)

    async def _connect(self, endpoint: Endpoint) -> None:
        if endpoint.tls and self._context is None:
            self._context = await asyncio.to_thread(_trust)
        context = self._context if endpoint.tls else None
        _, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
        writer.transport.abort()  # nothing was said that would need a farewell


def _told(model: object) -> Endpoint | None:
    return endpoint_of(model.address) if isinstance(model, Addressed) else None


def _trust() -> ssl.SSLContext:
    """The certificates that calls of models trust."""
    import httpx2

    return httpx2.create_ssl_context()
