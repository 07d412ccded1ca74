"""Where the map of a sharded index is kept: with the records, or in a file of one machine."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from holdfast.directory import ShardMap, Where
from holdfast.errors import ConfigError, ConflictError, StoreUnavailableError
from holdfast.model import Struct
from holdfast.ports import Directory

T = TypeVar("T")


class DirectoryShardMaps:
    """A row of the directory for each collection."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def load(self, collection: str) -> tuple[int, bytes] | None:
        """As the port says."""
        found = await self._directory.select(ShardMap, Where("collection", collection))
        return (found[0].version, found[0].value.encode()) if found else None

    async def save(self, collection: str, version: int, value: bytes) -> bool:
        """As the port says."""
        if version == 0:
            try:
                await self._directory.insert(
                    ShardMap(collection=collection, version=1, value=value.decode())
                )
            except ConflictError:
                return False
            return True
        changed = await self._directory.update(
            ShardMap,
            Where("collection", collection),
            Where("version", version),
            values={"version": version + 1, "value": value.decode()},
        )
        return changed == 1

    async def forget(self, collection: str) -> None:
        """As the port says."""
        await self._directory.delete(ShardMap, Where("collection", collection))


class _Entry(Struct, frozen=True):
    version: Annotated[int, Meta(ge=1)]
    value: bytes


_Entries = dict[str, _Entry]


class FileShardMaps:
    """A JSON file with the maps of all collections, replaced as a whole under a lock."""

    def __init__(self, path: Path) -> None:
        """The folder of `path` must be there; the file need not."""
        self._path = path

    async def load(self, collection: str) -> tuple[int, bytes] | None:
        """As the port says."""
        found = (await asyncio.to_thread(self._reported, self._read)).get(collection)
        return None if found is None else (found.version, found.value)

    async def save(self, collection: str, version: int, value: bytes) -> bool:
        """As the port says."""

        def change() -> bool:
            with self._locked():
                entries = self._read()
                if (entries[collection].version if collection in entries else 0) != version:
                    return False
                self._write(entries | {collection: _Entry(version + 1, value)})
                return True

        return await asyncio.to_thread(self._reported, change)

    async def forget(self, collection: str) -> None:
        """As the port says."""

        def change() -> None:
            with self._locked():
                entries = self._read()
                if entries.pop(collection, None):
                    self._write(entries)

        await asyncio.to_thread(self._reported, change)

    def _reported(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise StoreUnavailableError(
                f"The file of the map of shards cannot be used: {error.strerror}."
            ) from error

    def _read(self) -> _Entries:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            return msgspec.json.decode(text, type=_Entries)
        except msgspec.DecodeError:
            raise ConfigError(
                "index.config.map_path: the file is not a map of shards.",
                hint="Name another file, or restore this one.",
            ) from None

    def _write(self, entries: _Entries) -> None:
        beside = self._path.with_name(f"{self._path.name}.new")
        with beside.open("wb") as file:
            file.write(msgspec.json.encode(entries))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._path.with_name(f"{self._path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
