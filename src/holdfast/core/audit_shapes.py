"""Rows of the audit as people and programs are told them, and what may be asked of them."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from holdfast.clock import iso
from holdfast.core.audit import subject_mark
from holdfast.directory import Where
from holdfast.errors import ValidationError
from holdfast.model import ANY, Json, Struct
from holdfast.trail import Anchor, AuditRow

COLUMNS: Final = AuditRow.__struct_fields__
_PLAIN: Final = ("principal", "action", "sort", "outcome", "target", "request_id")
_WHOSE: Final = ("user_id", "agent_id", "app_id", "run_id")
_ANCHOR: Final = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class AuditQuery(Struct, frozen=True, kw_only=True):
    """Which rows are asked for: all of what is given must hold."""

    principal: str | None = None
    user_id: str | None = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    action: str | None = None
    sort: str | None = None
    outcome: str | None = None
    target: str | None = None
    request_id: str | None = None
    since: float | None = None
    """Epoch seconds, inclusive."""
    before: float | None = None
    """Epoch seconds, exclusive."""

    def names(self) -> list[tuple[str, str]]:
        """Kind and id of each user, agent, app or run that the query names."""
        given = ((name[: -len("_id")], getattr(self, name)) for name in _WHOSE)
        return [(kind, name) for kind, name in given if name is not None]

    def conditions(self, project: str, key: bytes) -> list[Where]:
        """The query as conditions on rows of a project; `key`: what its marks are made with.

        Rows about "*" (too many to name) are found whoever is asked for.
        """
        given = {name: getattr(self, name) for name in (*_PLAIN, *_WHOSE)}
        found = [Where(name, given[name]) for name in _PLAIN if given[name] is not None]
        found += [
            Where(name, (subject_mark(key, project, name[: -len("_id")], one), ANY), "in")
            for name in _WHOSE
            if (one := given[name]) is not None
        ]
        if self.since is not None:
            found.append(Where("at", math.nextafter(self.since, -math.inf), "gt"))
        if self.before is not None:
            found.append(Where("at", math.nextafter(self.before, -math.inf), "lte"))
        return found


def row_shape(row: AuditRow) -> dict[str, Json]:
    """A row as an object: its time as ISO 8601 and, to verify it by, in epoch seconds."""
    shape = {name: getattr(row, name) for name in COLUMNS}
    return {"no": row.no, "time": iso(row.at), **shape}


def as_jsonl(rows: Iterable[AuditRow]) -> str:
    """Rows as JSON, one a line."""
    return "".join(msgspec.json.encode(row_shape(row)).decode() + "\n" for row in rows)


def as_csv(rows: Iterable[AuditRow], *, header: bool) -> str:
    """Rows as CSV; what a spreadsheet would take for a formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    if header:
        writer.writerow(["no", "time", *(name for name in COLUMNS if name != "no")])
    for row in rows:
        writer.writerow([_cell(value) for value in row_shape(row).values()])
    return out.getvalue()


def _cell(value: Json) -> Json:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def anchor_of(text: str, project: str) -> Anchor:
    """An anchor written as "number:hash". Raises ValidationError."""
    found = _ANCHOR.fullmatch(text.strip().lower())
    if found is None:
        raise ValidationError(
            "That is no row of an audit.", hint="Write it as `audit head` prints it: NUMBER:HASH."
        )
    return Anchor(project, int(found[1]), found[2])


def anchors_of(text: str) -> Sequence[Anchor]:
    """What `audit head --json` printed, or its lines as an export has them.

    Raises ValidationError.
    """
    try:
        told = msgspec.json.decode(text)
        found = told["results"] if isinstance(told, dict) and "results" in told else told
        return msgspec.convert(found if isinstance(found, list) else [found], list[Anchor])
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise ValidationError(
            "The file holds no heads of an audit.", hint="Write it with `audit head --json`."
        ) from None
