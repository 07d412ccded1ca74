"""What is known of a subject as a document: JSON, or HTML without scripts, whatever texts say.

Written piece by piece, so that a large one needs no memory. Every value is escaped where it is put
into the page, and the page forbids scripts and connections of its own accord: memories are other
people's words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final, Literal, Protocol

import msgspec

from holdfast.clock import iso
from holdfast.model import Json, Struct

Format = Literal["json", "html"]
FORMATS: Final[tuple[Format, ...]] = ("json", "html")


class Section(Struct, frozen=True):
    """A part of the document: its heading, and the columns of its table; what else a row has comes
    in the last one."""

    heading: str
    columns: tuple[str, ...]


SECTIONS: Final[Mapping[str, Section]] = {
    "memories": Section(
        "What is remembered",
        ("memory", "kind", "event_at", "created_at", "valid_to", "metadata", "categories"),
    ),
    "messages": Section("What was said", ("text", "role", "actor_id", "event_at")),
    "sources": Section("Where memories come from", ("memory_id", "quote", "turn_id")),
    "history": Section(
        "How memories changed", ("event", "old_memory", "new_memory", "updated_at", "memory_id")
    ),
    "held": Section(
        "What was said by untrusted sources and waits for approval",
        ("created_at", "messages", "request", "principal"),
    ),
    "jobs": Section("Work on what was said", ("kind", "state", "created_at", "payload", "result")),
    "usage": Section(
        "What models took", ("at", "operation", "model", "input_tokens", "output_tokens")
    ),
    "feedback": Section("Opinions on memories", ("memory_id", "feedback", "reason", "at")),
    "exports": Section("Exports", ("created_at", "state", "request", "result")),
    "deliveries": Section("Messages to webhooks", ("event", "state", "created_at", "body")),
    "api_keys": Section(
        "Keys that name the subject", ("id", "label", "users", "agents", "apps", "runs")
    ),
    "budgets": Section("Budgets of this user", ("period", "unit", "amount", "at_limit")),
    "budget_periods": Section("What was spent of budgets", ("since", "spent", "held")),
}
"""The parts of a document, in their order."""

_TIMES: Final = frozenset(
    ("at", "since", "run_after", "event_at", "created_at", "updated_at", "started_at",
     "completed_at", "expires_at", "revoked_at", "retires_at")
)  # fmt: skip

# Control characters but for line breaks and tabs, half surrogates, marks that turn the direction.
_STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]"
)

_HEAD: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;
color:#222}}
table{{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}}
th,td{{border-bottom:1px solid #ddd;padding:.3rem .6rem;text-align:left;vertical-align:top}}
td{{overflow-wrap:anywhere;white-space:pre-wrap}}th{{background:#f4f4f4}}
@media(prefers-color-scheme:dark){{body{{background:#181818;color:#ddd}}th{{background:#222}}
th,td{{border-color:#444}}}}
</style></head><body>
<h1>{title}</h1>
"""


def readable(row: Mapping[str, Json]) -> dict[str, Json]:
    """A row with its times written out (ISO 8601, UTC)."""
    return {
        name: iso(value) if name in _TIMES and isinstance(value, int | float) else value
        for name, value in row.items()
    }


class Document(Protocol):
    """Makes the pieces of a document, in order; each section is begun, filled and ended."""

    def begin(self, about: Mapping[str, Json]) -> str:
        """The beginning: whom it is about, and when it was made."""

    def section(self, name: str) -> str:
        """The beginning of a section."""

    def row(self, row: Mapping[str, Json]) -> str:
        """One row of it."""

    def section_end(self) -> str:
        """Its end."""

    def end(self) -> str:
        """The end of the document."""


class JsonDocument:
    """One object: `subject`, and a list for each section."""

    def __init__(self) -> None:
        self._between = ""

    def begin(self, about: Mapping[str, Json]) -> str:
        return '{"subject": ' + _json(about)

    def section(self, name: str) -> str:
        self._between = "\n"
        return f',\n"{name}": ['

    def row(self, row: Mapping[str, Json]) -> str:
        between, self._between = self._between, ",\n"
        return between + _json(row)

    def section_end(self) -> str:
        return "]"

    def end(self) -> str:
        return "}\n"


class HtmlDocument:
    """One page that needs nothing else; sections without rows are left out."""

    def __init__(self) -> None:
        self._name = ""
        self._begun = False

    def begin(self, about: Mapping[str, Json]) -> str:
        title = _text(f"Everything known of the {about['kind']} {about['id']}")
        facts = "".join(_cells((name, value)) for name, value in about.items())
        return f"{_HEAD.format(title=title)}<table>{facts}</table>\n"

    def section(self, name: str) -> str:
        self._name, self._begun = name, False
        return ""

    def row(self, row: Mapping[str, Json]) -> str:
        columns = SECTIONS[self._name].columns
        more = {k: v for k, v in row.items() if k not in columns and v not in (None, "", [], {})}
        head, self._begun = "" if self._begun else self._heading(), True
        return head + _cells([*(row.get(name) for name in columns), more])

    def _heading(self) -> str:
        found = SECTIONS[self._name]
        names = "".join(f"<th>{_text(name)}</th>" for name in (*found.columns, "more"))
        return f"<h2>{_text(found.heading)}</h2>\n<table><tr>{names}</tr>\n"

    def section_end(self) -> str:
        return "</table>\n" if self._begun else ""

    def end(self) -> str:
        return "</body></html>\n"


def document(form: Format) -> Document:
    """What makes a document of this form."""
    return JsonDocument() if form == "json" else HtmlDocument()


def _json(value: Json) -> str:
    return msgspec.json.encode(value).decode()


def _cells(values: Sequence[Any]) -> str:
    return "<tr>" + "".join(f"<td>{_text(_plain(value))}</td>" for value in values) + "</tr>\n"


def _plain(value: Json) -> str:
    if value in (None, {}, []):
        return ""
    return value if isinstance(value, str) else _json(value)


def _text(value: str) -> str:
    """Escaped, and without characters that steer how a page is read."""
    return escape(_STEERING.sub("\N{REPLACEMENT CHARACTER}", value), quote=True)
