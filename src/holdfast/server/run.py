"""`holdfast serve`: the application on uvicorn, and an orderly end.

Told to stop (SIGTERM, Ctrl-C), a server is not ready from that moment on, takes no more connections
(after `drain_notice_s`), finishes the requests it has, at most `drain_s` long, hands the jobs it is
at back to the queue, and ends with code 0. Told twice, it leaves the requests and ends at once.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_network
from typing import Any

import uvicorn
from fastapi import FastAPI

from holdfast.config import Config, ServerConfig
from holdfast.errors import ConfigError
from holdfast.server import warm
from holdfast.server.app import build
from holdfast.server.deployment import Deployment
from holdfast.server.opening import Opening
from holdfast.server.protocol import GuardedProtocol, bounded

KEEP_ALIVE_S = 30
BACKLOG = 2_048
TLS_GOODBYE_S = 1.0
"""Seconds for which a closed connection waits for its other end to close TLS as well."""
LEAVE_S = 2.0
"""Seconds that requests, told to end, have for handing back what they were at."""

Started = Callable[[str | None], None]
"""Told when the server answers: the secret of the first key, if there was none before."""


class Server(uvicorn.Server):
    """uvicorn's server, which opens the deployment before the sockets, unless its store is away,
    and closes it behind them."""

    def __init__(
        self, config: uvicorn.Config, started: Started | None = None, *, is_alone: bool = False
    ) -> None:
        """`is_alone`: whether the process is the server's and nobody else's."""
        super().__init__(config)
        self._is_alone = is_alone
        self._told_started = started
        self._stop_at = math.inf
        self._last_signal = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beginning: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: Any) -> None:
        """What a signal does; not uvicorn's way, which ends a good end with the signal."""
        self._last_signal = sig
        if self.should_exit or self._stop_at < math.inf:
            self.should_exit = self.force_exit = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._hang_up)
            return
        deployment = self._deployment
        if deployment is None:  # it has not begun yet
            self.should_exit = True
            return
        deployment.draining = True
        notice_s = deployment.admin.config.server.drain_notice_s
        self._stop_at = time.monotonic() + notice_s

    @property
    def exit_code(self) -> int:
        """0, unless it was told twice."""
        return 128 + self._last_signal if self.force_exit else 0

    async def on_tick(self, counter: int) -> bool:
        if time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        app = _application(self.config)
        async with app.router.lifespan_context(app):
            opening: Opening = app.state.opening
            opening.on_end = self._opened_late
            try:
                await super()._serve(sockets)
                if self._beginning is not None:
                    await self._beginning
            finally:
                await self._leave()
            if opening.error is not None:
                raise opening.error

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        with _tls_within_bounds(asyncio.get_running_loop(), self.config):
            await super().startup(sockets)
        if self._deployment is not None:
            await self._begun(self._deployment)

    def _opened_late(self) -> None:
        """The store is there, or it is known that nothing comes of it."""
        if self._deployment is None:
            self.should_exit = True
        else:
            self._beginning = asyncio.create_task(self._begun(self._deployment))
            self._beginning.add_done_callback(self._ended_if_failed)

    async def _begun(self, deployment: Deployment) -> None:
        """What is done once, when requests can be served."""
        if self._is_alone:
            await warm.settle()
        if self._told_started is not None:
            first = await deployment.admin.first_key()
            self._told_started(None if first is None else first.secret)

    def _ended_if_failed(self, beginning: asyncio.Task[None]) -> None:
        if not beginning.cancelled() and beginning.exception() is not None:
            self.should_exit = True  # and whoever waits for the task raises it

    def _hang_up(self) -> None:
        """Cut every connection: nobody waits for what runs any more."""
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def _leave(self) -> None:
        """End what did not end in time, before the store is closed under it."""
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LEAVE_S)

    @property
    def _deployment(self) -> Deployment | None:
        found: Deployment | None = getattr(_application(self.config).state, "deployment", None)
        return found


@contextmanager
def _tls_within_bounds(loop: asyncio.AbstractEventLoop, config: uvicorn.Config) -> Iterator[None]:
    """Have servers that the loop makes bound how long TLS begins and ends; uvicorn leaves both to
    the loop, which waits for a minute and for half of one.

    A handshake has the time of a head. Who does not say goodbye is not waited for: clients that
    keep a connection for later do not read meanwhile, so each would hold up the end of the server.
    """
    if config.ssl is None:
        yield
        return
    protocol = config.http_protocol_class
    assert issubclass(protocol, GuardedProtocol)
    bounds: dict[str, Any] = {
        "ssl_handshake_timeout": protocol.header_timeout_s,
        "ssl_shutdown_timeout": TLS_GOODBYE_S,
    }
    made = loop.create_server
    setattr(loop, "create_server", partial(made, **bounds))  # noqa: B010 - mypy knows no other way
    try:
        yield
    finally:
        setattr(loop, "create_server", made)  # noqa: B010


def serve(config: Config, sockets: Sequence[socket.socket], started: Started | None = None) -> int:
    """Serve on these sockets until told to stop; the exit code of the process.

    Raises what opening the deployment raises: ConfigError, StoreError and their kinds.
    """
    server = Server(settings(build(config), config), started, is_alone=True)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve(list(sockets)))
    return server.exit_code


def settings(app: FastAPI, config: Config) -> uvicorn.Config:
    """The server's settings in uvicorn's words. Raises ConfigError."""
    section = config.server
    check_tls(section)
    check_proxies(section)
    protocol = bounded(
        header_timeout_s=section.header_timeout_s,
        body_timeout_s=section.body_timeout_s,
        connections_max=section.connections_max,
    )
    return uvicorn.Config(
        app,
        host=section.host,
        port=section.port,
        http=protocol,
        ws="none",
        ssl_certfile=section.tls_cert or None,
        ssl_keyfile=section.tls_key or None,
        proxy_headers=bool(section.trusted_proxies),
        forwarded_allow_ips=section.trusted_proxies or None,
        timeout_graceful_shutdown=math.ceil(section.drain_s),
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=BACKLOG,
        access_log=False,
        server_header=False,
        date_header=True,
        log_config=None,
        lifespan="off",  # `Server` opens and closes the deployment, so that its errors are raised
    )


def listen(section: ServerConfig) -> list[socket.socket]:
    """The sockets a server listens on: one for each address of its host. Raises ConfigError."""
    place = f"{section.host}:{section.port}"
    try:
        found = socket.getaddrinfo(
            section.host or None, section.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror:
        raise ConfigError(
            f"server.host: {section.host} is no address of this machine.",
            hint="127.0.0.1 is this machine alone, 0.0.0.0 all its addresses.",
        ) from None
    sockets: list[socket.socket] = []
    port = section.port
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bound(family, (address[0], port, *address[2:])))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and (sockets or len(found) > 1):
                continue  # e.g. a container without IPv6 whose localhost has such an address
            for each in sockets:
                each.close()
            raise _cannot_listen(place, error) from None
        port = sockets[0].getsockname()[1]
    if not sockets:
        raise _cannot_listen(place, OSError(errno.EADDRNOTAVAIL, ""))
    return sockets


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)  # here, for only now it shows that another program listens there
        made.setblocking(False)
        made.set_inheritable(True)
    except OSError:
        made.close()
        raise
    return made


def _cannot_listen(place: str, error: OSError) -> ConfigError:
    told = {
        errno.EADDRINUSE: ("another program listens there", "Stop it, or choose another --port."),
        errno.EACCES: ("this user may not", "Choose a --port of 1024 or more."),
        errno.EADDRNOTAVAIL: (
            "this machine has no such address",
            "127.0.0.1 is this machine alone, 0.0.0.0 all its addresses.",
        ),
    }
    what, hint = told.get(error.errno or 0, (os.strerror(error.errno or 0), ""))
    return ConfigError(f"Cannot listen on {place}: {what}.", hint=hint)


def check_tls(section: ServerConfig) -> None:
    """Raises ConfigError if the certificate or its key cannot be used."""
    if not section.tls_cert:
        if section.tls_key:
            raise ConfigError(
                "server.tls_key is set without server.tls_cert.", hint="Set both, or neither."
            )
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(section.tls_cert, section.tls_key or None, password=_no_password)
    except ssl.SSLError:
        raise ConfigError(
            "server.tls_cert and server.tls_key are not a certificate and its key.",
            hint="Both are PEM files, the key without a password.",
        ) from None
    except OSError as error:
        raise ConfigError(
            f"server.tls_cert or server.tls_key cannot be read: {error.strerror}.",
            hint="Look at their paths and rights.",
        ) from None


def _no_password() -> str:
    """Keeps OpenSSL from asking a terminal."""
    return ""


def check_proxies(section: ServerConfig) -> None:
    """Raises ConfigError if what is trusted is neither an address nor a network."""
    for place in filter(None, (part.strip() for part in section.trusted_proxies.split(","))):
        if place == "*":
            continue
        try:
            ip_network(place)
        except ValueError:
            raise ConfigError(
                f"server.trusted_proxies: {place[:64]} is no address and no network.",
                hint='Write it like "10.0.0.7, 10.1.0.0/16".',
            ) from None


def _application(config: uvicorn.Config) -> FastAPI:
    app = config.app
    assert isinstance(app, FastAPI)
    return app


STOPS = (signal.SIGTERM, signal.SIGINT)
"""Signals that ask for an orderly end."""
