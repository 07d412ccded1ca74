"""Fenced code of Markdown pages, as far as it is meant to be run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]))

_FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def blocks(page: str, language: str, *, run: bool = True) -> list[str]:
    """The page's blocks of a language: those to run, or those marked `<!-- not run: why -->`."""
    return [
        found["code"]
        for found in _FENCE.finditer(page)
        if found["language"] == language and (found["reason"] is None) == run
    ]


def pages_with(language: str) -> list[str]:
    """Names of the pages that have blocks of this language to run."""
    return [page.relative_to(ROOT).as_posix() for page in PAGES
            if blocks(page.read_text(encoding="utf-8"), language)]  # fmt: skip
