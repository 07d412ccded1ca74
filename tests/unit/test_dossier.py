"""What is known of a subject as a document: whatever texts say, it is read as text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from holdfast.core.dossier import SECTIONS, document, readable
from holdfast.testing.hostile import STORABLE

HOSTILE = [
    *STORABLE,
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</td></table></body></html><iframe src='https://example.com'>",
    "<!--", "]]>", "&lt;b&gt;", "javascript:alert(1)", "\u202eevil", "a\x1b[31mb", "`'\"",
]  # fmt: skip


class Seen(HTMLParser):
    """The tags, attributes and cells of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.cells: list[str] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "html"):
            self.attributes |= {name for name, _ in attrs}
        self._in_cell = tag == "td"
        if self._in_cell:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells[-1] += data

    def handle_comment(self, data: str) -> None:
        self.tags.add("!--")


def page(form: Any, row: dict[str, Any], name: str = "id") -> str:
    """A document of one memory, and of one row of every other section."""
    made = document(form)
    pieces = [made.begin({"kind": "user", "id": name, "project": "p", "made_at": "now"})]
    for section in SECTIONS:
        pieces += [made.section(section), made.row(row), made.row(row), made.section_end()]
    return "".join([*pieces, made.end()])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_read_as_text(text: str) -> None:
    row = {"memory": text, text: text, "metadata": {text: [text]}}
    seen = Seen()
    whole = page("html", row, text)
    seen.feed(whole)
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "table",
        "tr",
        "th",
        "td",
    }
    assert seen.tags <= allowed
    assert not seen.attributes
    assert "\u202e" not in whole
    assert "\x1b" not in whole
    assert "default-src 'none'" in whole
    if text.isprintable() and text.strip():
        assert text in seen.cells
    told = msgspec.json.decode(page("json", row, text))
    assert told["subject"]["id"] == text
    assert told["memories"] == [msgspec.json.decode(msgspec.json.encode(row))] * 2
    assert set(told) == {"subject", *SECTIONS}


def test_a_document_without_rows_is_one() -> None:
    for form, wanted in (("json", '"memories": []'), ("html", "<h1>")):
        made = document(form)  # type: ignore[arg-type]
        about = {"kind": "user", "id": "alice"}
        pieces = [made.begin(about)]
        for name in SECTIONS:
            pieces += [made.section(name), made.section_end()]
        whole = "".join([*pieces, made.end()])
        assert wanted in whole
        assert "<h2>" not in whole


def test_times_are_written_out_and_other_numbers_are_not() -> None:
    told = readable({"created_at": 0.0, "attempts": 3, "completed_at": None, "at": 1})
    assert told["created_at"].startswith("1970-01-01")
    assert told["at"].startswith("1970-01-01")
    assert (told["attempts"], told["completed_at"]) == (3, None)
