"""The settings of the cache: of the one in this process, and of a Redis that several share."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from holdfast import limits
from holdfast.model import Struct


class CacheSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every cache takes, and all that the one in this process does."""

    results: bool = True
    """Whether answers of searches are kept, as long as nothing they depend on has changed."""
    embeddings: bool = True
    """Whether vectors of remote embedders are kept, so that a text is paid for once."""
    ttl_s: Annotated[float, Meta(ge=1, le=31 * 86_400)] = limits.CACHE_TTL_S
    """Longest time anything is kept, in seconds."""
    bytes_max: Annotated[int, Meta(ge=0, le=2**40)] = limits.CACHE_BYTES_MAX
    """Bytes kept in this process; 0 for none."""


class RedisSettings(CacheSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Redis: one server, a cluster, or what sentinels watch over."""

    url: str
    """redis://user:password@host:6379/0; rediss:// for TLS; unix:///path for a socket."""
    cluster: bool = False
    """Whether the server of `url` is one of a Redis Cluster; the others are found through it."""
    sentinels: tuple[str, ...] = ()
    """host:port of sentinels; the host of `url` is then the name of their service."""
    sentinel_password: str = ""
    deployment: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[\w.-]+$")] = "holdfast"
    """Begins every key; of several deployments on one Redis each should have its own."""
    tls_ca: str = ""
    """PEM file of the authorities that are trusted; the system's if empty."""
    tls_cert: str = ""
    """PEM file of this client's own certificate, if the server asks for one."""
    tls_key: str = ""
    """PEM file of its key."""
    connections_max: Annotated[int, Meta(ge=1, le=4_096)] = 32
    """Connections of one process, to each server of a cluster; more calls at once go without."""
    timeout_s: Annotated[float, Meta(ge=0.01, le=60)] = limits.REDIS_TIMEOUT_S
    """Seconds a call may take, a new connection included, before it goes on without the cache."""

    def __repr__(self) -> str:
        return f"RedisSettings(deployment={self.deployment!r})"
