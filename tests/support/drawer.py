"""A destination in memory, archives made by hand, and all that a store tells, to compare."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from holdfast import AsyncMemory
from holdfast.backends.backups.codecs import codec
from holdfast.core.archive import Header, Row, Writer, encoded
from holdfast.errors import NotFoundError
from holdfast.ports.destination import Stored

KEY = bytes(range(32))
TABLES: tuple[tuple[str, list[Row]], ...] = (
    ("plants", [[no, f"plant {no}", 0.5 * no, b"\x00\xff" * no, None] for no in range(9)]),
    ("stones", [[-(2**62), "", 1e300, b"", "\N{SNOWMAN}"]]),
    ("nothing", []),
)
COLUMNS = ("no", "name", "weight", "mark", "more")


class Drawer:
    """`ports.Destination` in a dictionary."""

    place = "a drawer"

    def __init__(self, **held: bytes) -> None:
        self.held = held
        self.reads = 0

    async def put(self, name: str, parts: AsyncIterator[bytes]) -> int:
        whole = b"".join([part async for part in parts])
        self.held[name] = whole
        return len(whole)

    async def read(self, name: str, start: int, length: int) -> bytes:
        self.reads += 1
        return self._of(name)[start : start + length]

    async def size(self, name: str) -> int:
        return len(self._of(name))

    async def listed(self) -> Sequence[Stored]:
        return [Stored(name=name, size=len(held)) for name, held in sorted(self.held.items())]

    async def delete(self, name: str) -> None:
        self.held.pop(name, None)

    async def close(self) -> None:
        """Nothing is held."""

    def _of(self, name: str) -> bytes:
        try:
            return self.held[name]
        except KeyError:
            raise NotFoundError("There is no such thing in the drawer.") from None


def header(**more: Any) -> Header:
    told = {"id": "one", "kind": "full", "store": "s", "revision": "r", "compression": "gzip"}
    return Header(**{"created_at": 1.0, **told, **more})


def written(key: bytes | None, name: str = "gzip", **more: Any) -> bytes:
    """An archive of TABLES, a chunk every four rows."""
    if key is not None:
        more = {"master": "first", "wrapped": key, **more}
    writer = Writer(header(compression=name, **more), codec(name), key)
    parts = [writer.start()]
    for table, rows in TABLES:
        writer.table(table, COLUMNS)
        parts += [
            writer.rows([encoded(row) for row in rows[at : at + 4]])
            for at in range(0, len(rows), 4)
        ]
    return b"".join([*parts, writer.finish()])


class OpenRing:
    """A keyring that wraps nothing: what archives made by hand have for a wrapped key."""

    primary = "first"

    async def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        return key

    async def unwrap(self, name: str, wrapped: bytes, bound_to: bytes) -> bytes:
        return wrapped

    async def close(self) -> None:
        """Nothing is held."""


async def told(memory: AsyncMemory, *users: str) -> list[Any]:
    """All that a memory tells of users: ids, texts, times, history, results of searches."""
    found: list[Any] = []
    for user in users:
        page = await memory.get_all(filters={"user_id": user}, top_k=1_000)
        found.append(page)
        found += [await memory.history(one["id"]) for one in page["results"]]
        found += [
            await memory.search(question, filters={"user_id": user}, top_k=20)
            for question in ("What do I like?", "tea", "when was that")
        ]
    found.append(await memory.entities())
    return found
