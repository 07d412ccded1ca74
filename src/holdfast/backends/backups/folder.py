"""Backups in a folder: written beside, synced, then put in place at once."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from holdfast.errors import BackupUnavailableError, NotFoundError
from holdfast.model import Struct
from holdfast.ports.destination import Stored

_UNFINISHED: Final = ".part"
_LEFT_S: Final = 86_400.0
"""Age, in seconds, at which nobody is writing to an unfinished file any more."""


class FolderSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder, of this machine or mounted."""

    path: str


class FolderDestination:
    """`ports.Destination` in a folder, which is made when something is stored."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = str(folder)

    async def put(self, name: str, parts: AsyncIterator[bytes]) -> int:
        with self._translated():
            await asyncio.to_thread(self._ready)
            beside = self._folder / f".{name}.{secrets.token_hex(4)}{_UNFINISHED}"
            try:
                # only who may read the folder's owner's files may read what was remembered
                file = await asyncio.to_thread(_created, beside)
                size = await _written(file, parts)
                await asyncio.to_thread(self._settle, beside, name)
            finally:
                beside.unlink(missing_ok=True)
        return size

    async def read(self, name: str, start: int, length: int) -> bytes:
        def work() -> bytes:
            with self._path(name).open("rb") as file:
                file.seek(start)
                return file.read(length)

        with self._translated(name):
            return await asyncio.to_thread(work)

    async def size(self, name: str) -> int:
        with self._translated(name):
            return (await asyncio.to_thread(self._path(name).stat)).st_size

    async def listed(self) -> Sequence[Stored]:
        def work() -> list[Stored]:
            if not self._folder.is_dir():
                return []
            with os.scandir(self._folder) as found:
                files = [one for one in found if one.is_file() and not one.name.startswith(".")]
                return [Stored(name=one.name, size=one.stat().st_size) for one in files]

        with self._translated():
            return sorted(await asyncio.to_thread(work), key=lambda one: one.name)

    async def delete(self, name: str) -> None:
        with self._translated(name):
            await asyncio.to_thread(self._path(name).unlink, missing_ok=True)

    async def close(self) -> None:
        """Nothing is held."""

    def _ready(self) -> None:
        """Make the folder; take away what a killed process left unfinished long ago."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._folder.glob(f".*{_UNFINISHED}"):
            if time.time() - left.stat().st_mtime > _LEFT_S:
                left.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if "/" in name or name.startswith(".") or not name:
            raise NotFoundError("Names of backups are names of files, without a path.")
        return self._folder / name

    def _settle(self, beside: Path, name: str) -> None:
        beside.replace(self._path(name))
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _translated(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise NotFoundError(
                f"There is no {name[:128]!r} in {self.place}.", hint="`holdfast backup list`."
            ) from None
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = "is full" if full else f"cannot be used ({error.strerror})"
            raise BackupUnavailableError(
                f"{self.place} {what}.", hint="Mend it or choose another place, then try again."
            ) from error


def _created(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


async def _written(file: BinaryIO, parts: AsyncIterator[bytes]) -> int:
    size = 0
    try:
        async for part in parts:
            size += await asyncio.to_thread(file.write, part)
        await asyncio.to_thread(_sync, file)
    finally:
        await asyncio.to_thread(file.close)
    return size


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
