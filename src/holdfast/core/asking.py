"""What a question asks for, told from its words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

ASKS_WHEN: Final = 1
"""Flag of a question: it asks for a time."""
ASKS_NUMBER: Final = 2
"""Flag: it asks for a number or an amount."""

_ASKING: Final[dict[str, int]] = {
    **dict.fromkeys(
        "when wann quand cuando cuándo quando wanneer när kiedy kapan когда متى कब".split(),
        ASKS_WHEN,
    ),
    **dict.fromkeys(
        """wieviel wieviele combien cuanto cuánto cuantos cuántos cuantas cuántas quanto quanti
        quante quantos quantas hoeveel ile berapa сколько كم कितना कितनी कितने""".split(),
        ASKS_NUMBER,
    ),
}
_TIMES: Final = dict.fromkeys("date day month year time".split(), ASKS_WHEN)
_AMOUNTS: Final = "number percentage percent amount age price cost".split()
_ASKING_AFTER: Final[dict[str, dict[str, int]]] = {
    "what": {**_TIMES, **dict.fromkeys(_AMOUNTS, ASKS_NUMBER)},
    "which": _TIMES,
    "how": dict.fromkeys("many much often old long far big tall".split(), ASKS_NUMBER),
    "wie": dict.fromkeys("viel viele lange oft alt".split(), ASKS_NUMBER),
    "ne": {"zaman": ASKS_WHEN, "kadar": ASKS_NUMBER},
}
"""Flags by a word and the one after it."""
_ASKING_RUNS: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (
        ASKS_WHEN,
        tuple("什么时候 什麼時候 何时 何時 几月 几号 幾月 幾號 哪天 哪年 いつ 언제 เมื่อไ".split()),
    ),
    (
        ASKS_NUMBER,
        tuple(
            """多少 几个 几次 几天 几年 几岁 几点 幾個 多久 多大 何人 何歳 何回 何個 いくつ いくら
            몇 얼마 กี่""".split()
        ),
    ),
)
"""The same in scripts without spaces: any of the pieces in a run."""


def asked(words: Iterable[str], runs: Iterable[str]) -> int:
    """Flags of a question by its casefolded words, and its runs in scripts without spaces."""
    asks = 0
    before = ""
    for word in words:
        asks |= _ASKING.get(word, 0)
        if before in _ASKING_AFTER:
            asks |= _ASKING_AFTER[before].get(word, 0)
        before = word
    for run in runs:
        for flag, pieces in _ASKING_RUNS:
            if any(piece in run for piece in pieces):
                asks |= flag
    return asks
