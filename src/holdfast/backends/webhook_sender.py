"""`ports.Sender` with httpx: looks a name up itself, and connects to the address it has checked."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import httpx

from holdfast.core.addresses import is_public
from holdfast.limits import WEBHOOK_ANSWER_BYTES_MAX, WEBHOOK_TIMEOUT_S
from holdfast.ports import Sent

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host; OSError or UnicodeError if it has none."""

_ADDRESSES_MAX = 4
"""Addresses of one name that are tried, one after the other."""

_NO_ADDRESS = Sent(error="The name has no address.")
_NOT_PUBLIC = Sent(error="The address is not public.", final=True)


class HttpSender:
    """Keeps no connection: one that was made for a name is not used for another."""

    def __init__(
        self,
        *,
        private: bool,
        timeout_s: float = WEBHOOK_TIMEOUT_S,
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """`private`: whether it may connect to the own network. `trust`: who is, over TLS."""
        self._private = private
        self._timeout_s = timeout_s
        self._resolve = resolve or addresses_of
        self._client = httpx.AsyncClient(
            verify=trust or True,
            trust_env=False,  # a proxy would look the name up once more
            follow_redirects=False,
            timeout=timeout_s,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Sent:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._send(httpx.URL(url), body, headers)
        except (TimeoutError, httpx.TimeoutException):
            return Sent(error=f"There was no answer within {self._timeout_s:g} s.")
        except httpx.InvalidURL:
            return Sent(error="The address is none.", final=True)
        except (httpx.HTTPError, ssl.SSLError) as error:
            return Sent(error=f"The connection failed ({type(error).__name__}).")
        except (OSError, UnicodeError):
            return _NO_ADDRESS

    async def _send(self, url: httpx.URL, body: bytes, headers: Mapping[str, str]) -> Sent:
        port = url.port or {"http": 80}.get(url.scheme, 443)
        found = list(dict.fromkeys(await self._resolve(url.host, port)))[:_ADDRESSES_MAX]
        if not found:
            return _NO_ADDRESS
        if not self._private and not all(is_public(address) for address in found):
            return _NOT_PUBLIC
        for address in found[:-1]:
            with suppress(httpx.ConnectError):
                return await self._post(url, address, body, headers)
        return await self._post(url, found[-1], body, headers)

    async def _post(
        self, url: httpx.URL, address: str, body: bytes, headers: Mapping[str, str]
    ) -> Sent:
        """Send to the address; the other side hears, and proves by TLS, the name."""
        request = self._client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers={**headers, "host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        answer = await self._client.send(request, stream=True)
        try:
            await _read(answer)
        finally:
            await answer.aclose()
        return _sent(answer.status_code)

    async def close(self) -> None:
        await self._client.aclose()


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def _read(answer: httpx.Response) -> None:
    """Let a short answer come to its end, so that the other side sees none cut off."""
    size = 0
    async for piece in answer.aiter_raw():
        size += len(piece)
        if size > WEBHOOK_ANSWER_BYTES_MAX:
            return


def _sent(status: int) -> Sent:
    if 200 <= status < 300:
        return Sent(status=status)
    why = "redirects are not followed" if 300 <= status < 400 else "not 200 to 299"
    return Sent(status=status, error=f"The answer was {status}: {why}.")
