"""Backups in a bucket: S3 and what speaks its language, Google Cloud Storage, Azure's blobs.

obstore sends an archive in parts, of which nothing is seen until the last one is there.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any, Final

import obstore
from msgspec import Meta
from obstore import exceptions
from obstore.store import from_url

from holdfast.config import Part, part_settings
from holdfast.errors import BackupUnavailableError, ConfigError, NotFoundError
from holdfast.model import Struct
from holdfast.ports.destination import Stored

_PART_BYTES: Final = 16 << 20
"""S3 takes 10,000 parts: an archive may have 160 GB."""
_AT_ONCE: Final = 3
_LISTED: Final = 1_000
_REFUSED: Final = re.compile(r"status code: 40[13]\b")


class ObjectSettings(Struct, frozen=True, kw_only=True):
    """What every kind of bucket takes."""

    url: str
    """With a folder in it: s3://bucket/folder, gs://bucket/folder, az://container/folder."""
    timeout_s: Annotated[float, Meta(ge=1, le=3_600)] = 60.0
    """Seconds one request may take."""
    retries: Annotated[int, Meta(ge=0, le=20)] = 5
    allow_http: bool = False
    """Whether an endpoint may be asked without TLS."""


class S3Settings(ObjectSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Amazon's, or what speaks its language; what is left out comes from the environment."""

    endpoint: str = ""
    """Of another than Amazon: https://host:port."""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""


class GcsSettings(ObjectSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Google's; what is left out comes from the environment."""

    service_account: str = ""
    """The file of a service account."""
    base_url: str = ""
    """Of another place than Google's."""


class AzureSettings(ObjectSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Azure's; what is left out comes from the environment."""

    account_name: str = ""
    account_key: str = ""
    endpoint: str = ""
    """Of another place than Azure's."""


KINDS: Final[Mapping[str, type[ObjectSettings]]] = {
    "s3": S3Settings,
    "gcs": GcsSettings,
    "azure": AzureSettings,
}
"""The settings of each kind of bucket."""


class ObjectDestination:
    """`ports.Destination` in a bucket."""

    def __init__(self, settings: ObjectSettings) -> None:
        """Raises ConfigError for an address or a setting that cannot be."""
        self.place = settings.url
        options: dict[str, Any] = {
            name: value
            for name in type(settings).__struct_fields__
            if name not in ObjectSettings.__struct_fields__
            if (value := getattr(settings, name))
        }
        if isinstance(settings, S3Settings):
            options["disable_bulk_delete"] = True  # not all that speak S3's language have it
        client = {
            "allow_http": settings.allow_http,
            "timeout": timedelta(seconds=settings.timeout_s),
        }
        retry = {"max_retries": settings.retries}
        try:
            make: Any = from_url  # typed for each kind of bucket apart
            self._store = make(
                settings.url, config=options, client_options=client, retry_config=retry
            )
        except (exceptions.BaseError, ValueError):
            raise ConfigError(
                "backup.config: this address, or what goes with it, cannot be used.",
                hint="Write it like s3://bucket/folder, gs://bucket/folder, az://container/folder.",
            ) from None

    @classmethod
    def configured(cls, part: Part) -> ObjectDestination:
        """The destination of a part. Raises ConfigError."""
        return cls(part_settings(KINDS[part.provider], part, "backup"))

    async def put(self, name: str, parts: AsyncIterator[bytes]) -> int:
        size = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for part in _joined(parts):
                size += len(part)
                yield part

        with self._translated(name):
            await obstore.put_async(
                self._store,
                name,
                counted(),
                chunk_size=_PART_BYTES,
                max_concurrency=_AT_ONCE,
            )
        return size

    async def read(self, name: str, start: int, length: int) -> bytes:
        if not length:
            return b""
        with self._translated(name):
            size = await self.size(name)
            if start >= size:
                return b""
            end = min(size, start + length)
            return bytes(await obstore.get_range_async(self._store, name, start=start, end=end))

    async def size(self, name: str) -> int:
        with self._translated(name):
            return int((await obstore.head_async(self._store, name))["size"])

    async def listed(self) -> Sequence[Stored]:
        found = []
        with self._translated():
            async for some in obstore.list(self._store, chunk_size=_LISTED):
                found += [
                    Stored(name=one["path"], size=one["size"])
                    for one in some
                    if "/" not in one["path"]
                ]
        return sorted(found, key=lambda one: one.name)

    async def delete(self, name: str) -> None:
        try:
            with self._translated(name):
                await obstore.delete_async(self._store, name)
        except NotFoundError:
            return

    async def close(self) -> None:
        """Connections end with the object."""

    @contextmanager
    def _translated(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except (exceptions.NotFoundError, FileNotFoundError):
            raise NotFoundError(
                f"There is no {name[:128]!r} in {self.place}.", hint="`holdfast backup list`."
            ) from None
        except (exceptions.BaseError, OSError) as error:
            if _is_refusal(error):
                raise BackupUnavailableError(
                    f"{self.place} refuses: the credentials do not allow this.",
                    hint="Look at backup.config, and at what the bucket allows.",
                ) from error
            raise BackupUnavailableError(
                f"{self.place} does not answer as it should.",
                hint="Look at backup.config and the network, then try again.",
            ) from error


def _is_refusal(error: Exception) -> bool:
    """Whether the credentials do not do; a listing tells of that in words only."""
    told = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    return isinstance(error, told) or bool(_REFUSED.search(str(error)))


async def _joined(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Small parts as larger ones: each costs a hop between threads."""
    kept: list[bytes] = []
    size = 0
    async for part in parts:
        kept.append(part)
        size += len(part)
        if size >= 1 << 20:
            yield b"".join(kept)
            kept, size = [], 0
    yield b"".join(kept)
