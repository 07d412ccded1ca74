"""The way from a client to its server: address, key, retries; the verbs are in `remote.client`."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import holdfast
from holdfast import deadline, limits
from holdfast.caller import warn
from holdfast.core import intake
from holdfast.core.affinity import HEADER, affinity
from holdfast.core.forms import is_repeatable, todays
from holdfast.errors import (
    ClosedError,
    ConfigError,
    HoldfastError,
    MissingExtraError,
    OverloadedError,
    RateLimitError,
    ServerTimeoutError,
    ServerUnavailableError,
    StoreUnavailableError,
)
from holdfast.model import Struct
from holdfast.remote import faces
from holdfast.remote.answers import result_of
from holdfast.remote.encoding import encoded

if TYPE_CHECKING:
    import httpx

_AGAIN = (OverloadedError, StoreUnavailableError, ClosedError, ServerUnavailableError)
"""Errors after which a call that may be repeated is repeated."""


class _NotSentError(ServerUnavailableError):
    """The call did not reach the server: any call may be made again."""

    code = ServerUnavailableError.code


class Request(Struct, frozen=True, kw_only=True):
    """What a server is asked."""

    method: str
    path: str
    query: Mapping[str, Any] = {}
    body: bytes = b""
    headers: Mapping[str, str] = {}
    repeatable: bool
    """Whether it may be made again when nobody knows if it was carried out."""


class Connection:
    """Carries calls to a server and brings back their answers or errors."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = limits.CLIENT_TIMEOUT_S,
        retries_max: int = limits.CLIENT_RETRIES_MAX,
        connections_max: int = limits.CLIENT_CONNECTIONS_MAX,
        ca_file: str | Path | None = None,
    ) -> None:
        """Nothing is sent before the first call.

        Args:
            url: where the server is, such as https://memory.example.com; default HOLDFAST_URL.
            api_key: the key, or a token, to show it; default HOLDFAST_API_KEY; "" shows none.
            timeout_s: longest time to wait for an answer, in seconds; one retry may follow another.
            retries_max: how often a call is made again after a refusal by a busy server (as long as
                Retry-After says) or a broken connection. Calls that change something are repeated
                only if they were surely not carried out; `add` is, for it carries an idempotency
                key.
            connections_max: connections open at once.
            ca_file: certificates (PEM) to trust, instead of the usual ones.

        Raises ConfigError.
        """
        self._url = _clean_url(os.environ.get("HOLDFAST_URL", "") if url is None else url)
        self._key = os.environ.get("HOLDFAST_API_KEY", "") if api_key is None else api_key
        self._timeout_s = intake.clean_seconds(timeout_s, "timeout_s")
        self._retries_max = intake.clean_count(retries_max, "retries_max", 100, least=0)
        self._connections_max = intake.clean_count(connections_max, "connections_max", 65_536)
        self._ca_file = ca_file
        self._http: httpx.AsyncClient | None = None
        self._closed = False
        self.usage = faces.AsyncUsage(self)
        """What calls of models took and cost."""
        self.budgets = faces.AsyncBudgets(self)
        """How much they may take."""
        self.erasure = faces.AsyncErasure(self)
        """Forgetting subjects, and what is known of them."""
        self.retention = faces.AsyncRetention(self)
        """What is removed for its age."""
        self.quarantine = faces.AsyncQuarantine(self)
        """What untrusted sources said."""

    async def open(self) -> None:
        """Make the connection pool; nothing is sent. Idempotent.

        Raises MissingExtraError, ConfigError, ClosedError.
        """
        if self._closed:
            raise ClosedError("This client is closed.", hint="Make a new one.")
        if self._http is None:
            self._http = self._pool()

    def close(self) -> None:
        """Take no more calls; `aclose` also ends the connections. Idempotent."""
        self._closed = True

    async def aclose(self) -> None:
        """Take no more calls, and end the connections. Idempotent."""
        self._closed = True
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _call(self, verb: str, given: Mapping[str, Any]) -> Any:
        """Carry out a verb on the server; its result, or its error.

        `given`: the method's `locals()` before it did anything: its arguments, all of them.
        """
        call = todays(verb, _changed(getattr(type(self), verb), given))
        for message, category in call.warnings:
            warn(message, category)
        if verb == "add" and call.given.get("idempotency_key") is None:
            call.given["idempotency_key"] = secrets.token_hex(16)
        timeout_s = call.given.get("timeout_s")
        if verb == "wait" and isinstance(timeout_s, int | float):
            return await self._wait(call.given, timeout_s)
        return await self._sent(verb, call.given)

    async def _wait(self, given: Mapping[str, Any], timeout_s: float) -> Any:
        """Wait in several calls, none longer than proxies and servers let a request take."""
        ends = time.monotonic() + timeout_s
        while True:
            asked = time.monotonic()
            part = min(max(0.0, ends - asked), limits.CLIENT_WAIT_S)
            part = timeout_s if not 0 <= timeout_s <= limits.WAIT_S_MAX else part  # refused there
            event = await self._sent("wait", {**given, "timeout_s": part})
            now = time.monotonic()
            done = event["status"] in ("SUCCEEDED", "FAILED")
            if done or now >= ends or now - asked < part:  # before time: parked
                return event

    async def _sent(self, verb: str, given: Mapping[str, Any]) -> Any:
        """Send a call, and again where that may be."""
        user = affinity(given)
        request = Request(
            method="POST",
            path=f"/holdfast/{verb}",
            body=encoded(given),
            headers={} if user is None else {HEADER: user},
            repeatable=is_repeatable(verb),
        )
        return await self._asked(request)

    async def _asked(self, request: Request) -> Any:
        """What a request is answered with; it is made again where that may be."""
        retries = 0
        while True:
            try:
                return await self._once(request)
            except HoldfastError as error:
                if retries >= self._retries_max or not _may_repeat(request, error):
                    raise
                pause = _pause_s(retries, error.retry_after_s)
                if pause > min(limits.CLIENT_PAUSE_MAX_S, deadline.left_s()):
                    raise
            retries += 1
            await asyncio.sleep(pause)

    async def _once(self, request: Request) -> Any:
        async with self._answer(request) as answer:
            content = await answer.aread()
        return result_of(answer.status_code, answer.headers, content)

    async def _pieces(self, request: Request) -> AsyncIterator[str]:
        """The text of an answer as it comes; asked once, and no errors but before the first."""
        async with self._answer(request) as answer:
            if answer.status_code != 200:
                result_of(answer.status_code, answer.headers, await answer.aread())
            async for piece in answer.aiter_text():
                yield piece

    @asynccontextmanager
    async def _answer(self, request: Request) -> AsyncIterator[httpx.Response]:
        """The answer to a request, of which the body is not read yet."""
        await self.open()
        assert self._http is not None
        import httpx

        timeout_s = min(self._timeout_s, deadline.left_s())
        if timeout_s <= 0:
            raise _NotSentError("There is no time left to ask the server.")
        try:
            async with self._http.stream(
                request.method,
                request.path,
                params=dict(request.query),
                content=request.body,
                headers={**request.headers, deadline.TIMEOUT_HEADER: f"{timeout_s:.3f}"},
                timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, limits.CLIENT_CONNECT_S)),
            ) as answer:
                yield answer
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _NotSentError(
                f"The server at {self._url} cannot be reached ({type(error).__name__}).",
                hint="Is it running, and is the URL right?",
            ) from None
        except httpx.TimeoutException:
            raise ServerTimeoutError(
                f"The server did not answer within {timeout_s:.3g} s.",
                hint="Whether it did what was asked is not known.",
            ) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise ServerUnavailableError(
                f"The connection to the server broke ({type(error).__name__}).",
                hint="Whether it did what was asked is not known.",
            ) from None

    def _pool(self) -> httpx.AsyncClient:
        try:
            import httpx
        except ModuleNotFoundError:
            raise MissingExtraError(
                "A client needs the package httpx.", hint="pip install 'holdfast[client]'"
            ) from None
        headers = {
            "content-type": "application/json",
            "user-agent": f"holdfast/{holdfast.__version__}",
        }
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        most = self._connections_max
        try:
            return httpx.AsyncClient(
                base_url=self._url,
                headers=headers,
                limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
                verify=_trusted(self._ca_file),
            )
        except UnicodeEncodeError:
            raise ConfigError("The API key is not ASCII.", hint="Copy it again.") from None


def _clean_url(url: object) -> str:
    hint = "Give url, or set HOLDFAST_URL, e.g. https://memory.example.com."
    if not isinstance(url, str) or not url.strip():
        raise ConfigError("No server is named.", hint=hint)
    url = url.strip().rstrip("/")
    if not url.startswith(("http://", "https://")) or "@" in url or "?" in url or "#" in url:
        raise ConfigError("url is no address of a server.", hint=hint)
    return url


def _trusted(ca_file: str | Path | None) -> Any:
    """The certificates to trust, in httpx's words. Raises ConfigError."""
    if ca_file is None:
        return True
    import ssl

    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError:  # SSLError is one
        raise ConfigError(
            f"{ca_file} holds no certificates.", hint="ca_file is a PEM file."
        ) from None


def _changed(method: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are not what they are anyway: an older server need not know the others."""
    defaults = {name: one.default for name, one in inspect.signature(method).parameters.items()}
    del defaults["self"]
    return {name: given[name] for name, usual in defaults.items() if given[name] is not usual}


def _may_repeat(request: Request, error: HoldfastError) -> bool:
    if isinstance(error, ServerTimeoutError):
        return False  # it waited long enough
    if isinstance(error, RateLimitError | _NotSentError):
        return True  # it was surely not carried out
    return isinstance(error, _AGAIN) and request.repeatable


def _pause_s(retries: int, asked_s: float | None) -> float:
    """Seconds before the next try: what the server asks for, else longer each time."""
    chance: float = random.uniform(0.5, 1.0)
    if asked_s is not None:
        return asked_s + chance * limits.CLIENT_BACKOFF_S
    return chance * limits.CLIENT_BACKOFF_S * float(2**retries)
