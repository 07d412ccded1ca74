"""Metadata whose values are sealed: those of the keys that were named sensitive.

Each value stands sealed in the object of metadata, as JSON, bound to its memory and its key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.sealing import ERASED, Sealer, Text, opened, sealed
from holdfast.core.seal import is_sealed
from holdfast.model import Json

SENSITIVE: Final = "sensitive:"
"""With a key behind it, the counter that says that values of this key are sealed, or were once."""


def remember(connection: Connection, sealer: Sealer) -> None:
    """Note the keys that are sensitive from now on, and learn those that were before."""
    for key in sealer.sensitive:
        connection.execute(
            "INSERT INTO counters (name, value) VALUES (?, 1) ON CONFLICT DO NOTHING",
            (SENSITIVE + key,),
        )
    rows = connection.execute(
        "SELECT name FROM counters WHERE name >= ? AND name < ?", (SENSITIVE, SENSITIVE[:-1] + ";")
    )
    sealer.sensitive |= {name.removeprefix(SENSITIVE) for (name,) in rows.fetchall()}


def seal_metadata(
    connection: Connection,
    project: str,
    memory: Text,
    metadata: Mapping[str, Json] | None,
) -> Mapping[str, Json] | None:
    """Metadata as it is stored; `memory` tells whose it is. Raises KeyNeeded."""
    sealer = connection.sealer
    if sealer is None or not metadata or not sealer.sensitive & metadata.keys():
        return metadata
    stored = {
        key: sealed(
            connection,
            project,
            "memories",
            _field(key),
            memory._replace(stored=msgspec.json.encode(metadata[key]).decode()),
        )
        for key in sealer.sensitive & metadata.keys()
    }
    return {**metadata, **stored}


def open_metadata(
    connection: Connection,
    project: str,
    memories: Sequence[Text],
    decoded: Sequence[dict[str, Json] | None],
) -> None:
    """Put the values of sealed keys in the place of what is stored, for each memory.

    Raises KeyNeeded, CorruptError.
    """
    sealer = connection.sealer
    for key in () if sealer is None else sorted(sealer.sensitive):
        found = [
            (memory, values)
            for memory, values in zip(memories, decoded, strict=True)
            if values and isinstance(values.get(key), str) and is_sealed(values[key])
        ]
        stored = [memory._replace(stored=values[key]) for memory, values in found]
        texts = opened(connection, project, "memories", _field(key), stored)
        for (_, values), text in zip(found, texts, strict=True):
            values[key] = None if text is ERASED else msgspec.json.decode(text)


def _field(key: str) -> str:
    return f"metadata.{key}"


def sealed_keys(sealer: Sealer, metadata: Mapping[str, Any]) -> dict[str, str | None]:
    """The sensitive keys that metadata has: what is stored of each, None if it is plain."""
    return {
        key: value if isinstance(value := metadata[key], str) and is_sealed(value) else None
        for key in sealer.sensitive & metadata.keys()
    }
