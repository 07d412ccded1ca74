"""What can be set for records in Postgres."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from holdfast.config import Part
from holdfast.config.parts import part_settings
from holdfast.errors import ConfigError
from holdfast.model import Struct

Seconds = Annotated[float, Meta(ge=0.05, le=86_400)]

_SCHEMES: Final = ("postgresql://", "postgres://")


class PostgresSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`records.config` for `provider: postgres`."""

    url: str
    """postgresql://user:password@host:port/database?sslmode=verify-full, or the name=value words
    that libpq knows; what is left out comes from PGHOST and the like."""
    read_urls: tuple[str, ...] = ()
    """Physical standbys that searches, lists and reads are answered from by turns, each with a pool
    of its own. One that has not replayed all that was acknowledged before is passed over."""
    read_wait_s: Annotated[float, Meta(ge=0, le=60)] = 0.05
    """Longest wait for a standby to catch up before another one, or the primary, answers."""
    pool_min: Annotated[int, Meta(ge=0, le=1_000)] = 1
    """Connections opened at the start."""
    pool_max: Annotated[int, Meta(ge=2, le=1_000)] = 10
    """Connections of this process at most."""
    pool_timeout_s: Seconds = 10.0
    """Longest wait for a free one."""
    connection_age_max_s: Seconds = 3_600.0
    """Age at which a connection is replaced by a new one."""
    connect_timeout_s: Annotated[float, Meta(ge=1, le=86_400)] = 5.0
    statement_timeout_s: Seconds = 30.0
    """After it the database gives a statement up."""
    lock_timeout_s: Seconds = 10.0
    """The same for a wait for others who write."""
    idle_timeout_s: Seconds = 60.0
    """The same for a transaction in which nothing is asked, as when this process stands still."""
    application_name: Annotated[str, Meta(max_length=63)] = "holdfast"
    """How `pg_stat_activity` names these connections, unless the URL does."""

    def __repr__(self) -> str:
        return f"PostgresSettings(url=***, pool_max={self.pool_max})"


def read_settings(part: Part) -> PostgresSettings:
    """The settings of the part `records`. Raises ConfigError."""
    if not str(part.config.get("url") or "").strip():
        raise ConfigError(
            "records.config.url: Postgres needs the address of a database.",
            hint="Write it like postgresql://user:password@host:5432/database.",
        )
    settings = part_settings(PostgresSettings, part, "records")
    _check_scheme("url", settings.url)
    for number, url in enumerate(settings.read_urls):
        _check_scheme(f"read_urls[{number}]", url)
    if settings.pool_min > settings.pool_max:
        raise ConfigError("records.config: pool_min is greater than pool_max.")
    return settings


def _check_scheme(name: str, url: str) -> None:
    scheme = url.partition("://")[0] + "://"
    if "://" in url and scheme not in _SCHEMES:
        raise ConfigError(
            f"records.config.{name}: {scheme[:32]} is no address of Postgres.",
            hint="Write it like postgresql://user:password@host:5432/database.",
        )
