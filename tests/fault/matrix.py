"""What every verb does while one of its dependencies fails: the table, as documents show it.

`python -m tests.fault.matrix` writes it into docs/degraded.md; `test_degraded.py` runs each cell.
"""

from __future__ import annotations

from pathlib import Path

VERBS = ("add", "search", "get", "delete")
FAULTS = ("down", "slow", "erroring", "garbage")

DONE = "as ever"
UNAVAILABLE = "`StoreUnavailableError`"
CORRUPT = "`CorruptError`"
KEPT = "kept; the rest follows, `degraded: [{}]`"
GIVEN_UP = "kept; facts given up, `FAILED`"
WITHOUT = "answers, `degraded: [{}]`"

NOT_ASKED = "index, of at most `exact_rows` memories"
"""Who asks about a user with so few does not need it."""


def _all(value: str) -> dict[str, str]:
    return dict.fromkeys(VERBS, value)


def _model(**cells: str) -> dict[str, str]:
    return {**_all(DONE), **cells}


CELLS: dict[tuple[str, str], dict[str, str]] = {
    ("records", "down"): _all(UNAVAILABLE),
    ("records", "slow"): {**_all(DONE), "add": UNAVAILABLE, "delete": UNAVAILABLE},
    ("records", "erroring"): _all(UNAVAILABLE),
    ("records", "garbage"): _all(CORRUPT),
    **{
        ("embedder", fault): _model(add=KEPT.format("embedder"), search=WITHOUT.format("embedder"))
        for fault in FAULTS
    },
    **{("llm", fault): _model(add=KEPT.format("llm")) for fault in FAULTS},
    ("llm", "garbage"): _model(add=GIVEN_UP),
    **{("index", fault): _model(search=WITHOUT.format("index")) for fault in FAULTS},
    **{(NOT_ASKED, fault): _all(DONE) for fault in FAULTS},
    **{("cache", fault): _all(DONE) for fault in FAULTS},
    **{("reranker", fault): _model(search=WITHOUT.format("reranker")) for fault in FAULTS},
}
"""What each verb does, by dependency and fault."""

PAGE = Path(__file__).parents[2] / "docs" / "degraded.md"
BEGIN, END = "<!-- cells begin -->", "<!-- cells end -->"


def table() -> str:
    """The cells as a table of Markdown; faults that do the same share a row."""
    lines = ["| what | how | " + " | ".join(f"`{verb}`" for verb in VERBS) + " |"]
    lines.append("|" + "---|" * (2 + len(VERBS)))
    rows: dict[tuple[str, ...], list[str]] = {}
    for (part, fault), cells in CELLS.items():
        rows.setdefault((part, *(cells[verb] for verb in VERBS)), []).append(fault)
    for (part, *cells), faults in rows.items():
        lines.append(f"| {part} | {', '.join(faults)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page() -> str:
    """The page with the table of today."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
