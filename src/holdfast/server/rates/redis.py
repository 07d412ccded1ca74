"""The Redis that limits are counted in: the one of `server.redis_url`, else that of the cache."""

from __future__ import annotations

from limits.aio.storage import RedisStorage
from limits.errors import ConfigurationError

from holdfast.backends.redis.connect import Connected, connect
from holdfast.config import Config, RedisSettings
from holdfast.errors import ConfigError, MissingExtraError
from holdfast.limits import REDIS_TIMEOUT_S
from holdfast.registry import cache_settings

_EXTRA = "pip install 'holdfast[server,redis]'"


def shared_storage(config: Config) -> RedisStorage | None:
    """None: each process counts by itself. Raises ConfigError, MissingExtraError; asks nothing."""
    url = config.server.redis_url
    if url:
        return _of_url(url)
    settings = cache_settings(config.cache)
    if not isinstance(settings, RedisSettings):
        return None
    try:
        return _OfTheCache(settings)
    except (ConfigurationError, ModuleNotFoundError):
        raise MissingExtraError("Limits in Redis need its client.", hint=_EXTRA) from None


async def close_storage(storage: RedisStorage) -> None:
    """Release its connections."""
    if isinstance(storage, _OfTheCache):
        for close in storage.connected.closers:
            await close()
    else:
        await storage.bridge.storage.aclose()  # type: ignore[attr-defined]


class _OfTheCache(RedisStorage):
    """Counts in the Redis of the cache, whichever way that is reached."""

    def __init__(self, settings: RedisSettings) -> None:
        self.connected: Connected = connect(settings)
        super().__init__(
            "async+redis://",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix=f"{settings.deployment}:limits",
        )

    def configure_bridge(self) -> None:
        client = self.connected.client
        self.bridge.connection_getter = lambda _readonly: client  # type: ignore[attr-defined]

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        from redis.exceptions import RedisClusterException, RedisError

        return (RedisError, RedisClusterException)


def _of_url(url: str) -> RedisStorage:
    if not url.startswith(("redis://", "rediss://")):
        raise ConfigError(
            "server.redis_url is no address of a Redis.",
            hint="Write it like redis://host:6379/0, or rediss:// for TLS.",
        )
    try:
        return RedisStorage(
            f"async+{url}",
            implementation="redispy",
            wrap_exceptions=True,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
        )
    except ConfigurationError:
        raise MissingExtraError("Limits in Redis need its client.", hint=_EXTRA) from None
    except ValueError:  # e.g. a port that is no number
        raise ConfigError(
            "server.redis_url is no address of a Redis.", hint="Write it like redis://host:6379/0."
        ) from None
