"""Rows of an archive without those of subjects that were erased after it was made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.model import ENTITY_KINDS

Row = Sequence[Any]

_IDS: Final = tuple(f"{kind}_id" for kind in ENTITY_KINDS)


class Erased(NamedTuple):
    """A subject that was erased, and when."""

    project: str
    kind: str
    id: str
    at: float


class Forgotten:
    """Takes out the rows of erased subjects, table by table in the order of an archive.

    Of a subject that was erased after the archive was made, all that is in it is to go: whatever
    came later is not in it.
    """

    def __init__(self, erased: Iterable[Erased], archived_at: float) -> None:
        self._gone = {(one.project, one.kind, one.id) for one in erased if one.at > archived_at}
        self._memories: set[int] = set()
        self._messages: set[int] = set()
        self._ids: set[tuple[str, str]] = set()
        self.rows = 0
        """Rows that were taken out so far."""

    def __bool__(self) -> bool:
        return bool(self._gone)

    def kept(self, table: str, columns: Sequence[str], rows: list[Row]) -> list[Row]:
        """The rows that stay."""
        if not self._gone:
            return rows
        place = {name: at for at, name in enumerate(columns)}
        kept = [row for row in rows if not self._goes(table, place, row)]
        self.rows += len(rows) - len(kept)
        return kept

    def _goes(self, table: str, place: dict[str, int], row: Row) -> bool:
        def of(name: str) -> Any:
            return row[place[name]]

        match table:
            case "memories" | "messages":
                gone = self._is_about(row[place["project"]], [of(name) for name in _IDS])
                if gone:
                    nos = self._memories if table == "memories" else self._messages
                    nos.add(of("no"))
                    self._ids.add((of("project"), of("id")))
                return gone
            case "history" | "usage" | "held":
                return self._is_about(of("project"), [of(name) for name in _IDS])
            case "entities":
                return (of("project"), of("kind"), of("id")) in self._gone
            case "embeddings":
                return of("memory_no") in self._memories
            case "sources":
                return of("memory_no") in self._memories or of("message_no") in self._messages
            case "feedback":
                return (of("project"), of("memory_id")) in self._ids
            case "jobs":
                return self._is_about(of("project"), _scope(of("scope_key")))
            case "exports":
                ids = msgspec.json.decode(of("memories"))
                return any((of("project"), id_) in self._ids for id_ in ids)
        return False

    def _is_about(self, project: str, ids: Sequence[Any]) -> bool:
        pairs = zip(ENTITY_KINDS, ids, strict=True)
        return any((project, kind, name) in self._gone for kind, name in pairs if name is not None)


def _scope(scope_key: str) -> Sequence[Any]:
    try:
        return msgspec.json.decode(
            scope_key, type=tuple[str | None, str | None, str | None, str | None]
        )
    except (msgspec.DecodeError, msgspec.ValidationError):
        return (None,) * len(ENTITY_KINDS)
