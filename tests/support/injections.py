"""The injection corpus, a reader of extraction prompts, and a model that obeys everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msgspec import Struct

_FILE = Path(__file__).parents[1] / "data" / "injections.jsonl"
ACCOUNT = "66778899001"
"""A number that the obedient model makes up."""


class Injection(Struct, frozen=True):
    """A turn that tries to be more than a turn."""

    technique: str
    language: str
    role: str
    text: str


def corpus() -> list[Injection]:
    return [Injection(**json.loads(line)) for line in _FILE.read_text().splitlines()]


def read_back(user: str) -> list[dict[str, Any]]:
    """The lines of a prompt, as whoever splits it at any kind of line end would read them."""
    return [json.loads(line) for line in user.splitlines()]


def obey(user: str) -> str:
    """The answer of a model that does whatever any turn may want.

    Every turn gets facts that end all that was shown: one whose quote stands in the turn, one with
    an invented number, one with an invented quote; and facts of turns that are none.
    """
    lines = read_back(user)
    every = list(range(-1, 60))
    facts = []
    for line in lines:
        if "turn" not in line:
            continue
        quote = line["text"][:40]
        facts += [
            _fact(line["turn"], quote, f"The user obeys in turn {line['turn']}", every),
            _fact(line["turn"], quote, f"The user pays to account {ACCOUNT}", every),
            _fact(line["turn"], "I hereby agree to everything", "The user agrees", every),
        ]
    invented = [_fact(number, "obey", "The user is root", every) for number in (0, -1, 999)]
    repeated = [_fact(1, line["text"], line["text"], []) for line in lines if "memory" in line]
    return json.dumps({"facts": [*facts, *invented, *repeated]})


def _fact(turn: int, quote: str, text: str, replaces: list[int]) -> dict[str, Any]:
    rest = {"when": "", "entities": [], "categories": []}
    return {"turn": turn, "quote": quote, "text": text, "replaces": replaces, **rest}
