"""Clients of Redis: one server, a cluster, or the one that sentinels name; none retries."""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple

from holdfast.config import RedisSettings
from holdfast.errors import ConfigError

SCHEMES = ("redis://", "rediss://", "unix://")
_FILES = {"tls_ca": "ssl_ca_certs", "tls_cert": "ssl_certfile", "tls_key": "ssl_keyfile"}
_EXAMPLE = "Write it like redis://host:6379/0, or rediss:// for TLS."


class Connected(NamedTuple):
    """A client, and what must be closed after it."""

    client: Any
    closers: Sequence[Callable[[], Awaitable[None]]]


def connect(settings: RedisSettings) -> Connected:
    """A client that has not connected yet. Raises ConfigError."""
    if not settings.url.startswith(SCHEMES):
        raise ConfigError("cache.config.url is no address of a Redis.", hint=_EXAMPLE)
    for name in _FILES:
        file = getattr(settings, name)
        if file and not os.access(file, os.R_OK):
            raise ConfigError(f"cache.config.{name} is no file that can be read.")
    if settings.cluster and settings.sentinels:
        raise ConfigError(
            "cache.config.cluster and cache.config.sentinels exclude each other.",
            hint="A cluster elects its own primaries: leave out the sentinels.",
        )
    try:
        if settings.cluster:
            return _cluster(settings)
        return _watched(settings) if settings.sentinels else _server(settings)
    except ConfigError:
        raise
    except ValueError:  # a port that is no number, say
        raise ConfigError("cache.config.url is no address of a Redis.", hint=_EXAMPLE) from None


def connection_options(settings: RedisSettings) -> dict[str, Any]:
    """What redis-py is told of connections, beside the address."""
    options: dict[str, Any] = {
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
    }
    if settings.url.startswith("rediss://"):
        files = ((option, getattr(settings, name)) for name, option in _FILES.items())
        options |= {option: file for option, file in files if file}
    return options


def _options(settings: RedisSettings) -> dict[str, Any]:
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return {
        **connection_options(settings),
        "max_connections": settings.connections_max,
        "protocol": 2,  # spares the talk about maintenance, and values are bytes either way
        "retry": Retry(NoBackoff(), 0),
    }


def _server(settings: RedisSettings) -> Connected:
    from redis.asyncio import Redis

    client = Redis.from_url(settings.url, **_options(settings))
    return Connected(client, [client.aclose])


def _cluster(settings: RedisSettings) -> Connected:
    from redis.asyncio import RedisCluster

    client = RedisCluster.from_url(settings.url, **_options(settings))

    async def close_nodes() -> None:  # the client leaves them open while the cluster is away
        for which in ("nodes_cache", "startup_nodes"):
            await client.nodes_manager.aclose(which)

    return Connected(client, [client.aclose, close_nodes])


def _watched(settings: RedisSettings) -> Connected:
    from redis.asyncio.connection import parse_url
    from redis.asyncio.sentinel import Sentinel

    where: dict[str, Any] = dict(parse_url(settings.url))
    tls = where.pop("connection_class", None) is not None
    service = where.pop("host", None)
    where.pop("port", None)
    if not service:
        raise ConfigError(
            "cache.config.url names no service of the sentinels.",
            hint="Write the name in place of the host: redis://mymaster/0.",
        )
    options = {**_options(settings), "ssl": tls}
    talk = {name: options[name] for name in options if name.startswith(("socket_", "ssl"))}
    if settings.sentinel_password:
        talk["password"] = settings.sentinel_password
    talk |= {"retry": options["retry"], "protocol": 2}
    sentinel: Any = Sentinel(_addresses(settings.sentinels), sentinel_kwargs=talk)  # type: ignore[no-untyped-call]
    client = sentinel.master_for(service, **options, **where)
    return Connected(client, [client.aclose, *(each.aclose for each in sentinel.sentinels)])


def _addresses(texts: Sequence[str]) -> list[tuple[str, int]]:
    found = []
    for text in texts:
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigError(
                f"cache.config.sentinels: {text[:64]!r} is no host:port.",
                hint="Write them like ['sentinel-1:26379', 'sentinel-2:26379'].",
            )
        found.append((host.strip("[]"), int(port)))
    return found


def lasting(error: BaseException) -> str:
    """What of the configuration an error at the first connection tells is wrong; else empty.

    What may pass by itself, a server that is away say, is none of these.
    """
    from redis import exceptions

    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return "refuses the user or password of cache.config.url"
    if isinstance(error, exceptions.NoPermissionError):
        return "does not let this user use GET, SET, UNLINK and EVALSHA on its keys"
    if isinstance(error, exceptions.MovedError):
        return "is part of a cluster: set cache.config.cluster to true"
    if isinstance(error, exceptions.InvalidResponse):
        return "does not speak as a Redis does"
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in _chain(error)):
        return "shows a certificate that is not trusted: see cache.config.tls_ca"
    if any(isinstance(each, ssl.SSLError) and not _cut(each) for each in _chain(error)):
        return "and this client do not agree on TLS"
    said = str(error).lower()
    if "cluster" in said and ("disabled" in said or "not enabled" in said):
        return "is no cluster: leave out cache.config.cluster"
    if "db index is out of range" in said:
        return "has no database of that number"
    return ""


def _cut(error: ssl.SSLError) -> bool:
    """Whether the line was cut, as by a server that ends."""
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
