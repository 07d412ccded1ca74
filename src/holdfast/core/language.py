"""Which language a word is in, and its stem.

Latin script needs a vote over stop words; every other script has one stemmer or none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Final, Protocol

from holdfast.core.stopwords import STOP_WORDS

WORDS_KEPT: Final = 16_384
"""Words of which each step of the analysis remembers what it made: some megabytes for each. Most
words of a text were met before; numbers and names that come once are soon forgotten again."""

LATIN_LANGUAGES: Final[tuple[str, ...]] = (
    "english",
    "german",
    "french",
    "spanish",
    "portuguese",
    "italian",
    "dutch",
    "swedish",
    "turkish",
    "polish",
    "indonesian",
)
"""Languages told apart by their stop words. The order is stored (as a number): append only."""

_SCRIPT_STEMMERS: Final[tuple[tuple[int, int, str], ...]] = (
    (0x0370, 0x03FF, "greek"),
    (0x0400, 0x052F, "russian"),
    (0x0530, 0x058F, "armenian"),
    (0x0600, 0x06FF, "arabic"),
    (0x0900, 0x097F, "hindi"),
    (0x0B80, 0x0BFF, "tamil"),
)
_FOLDED_SCRIPTS_END: Final = 0x0530
"""Latin, Greek and Cyrillic lose their diacritics; in other scripts marks are letters."""

STOP_MASKS: Final[dict[str, int]] = {}
"""Word -> bit set of the Latin languages in which it is a stop word."""
for _code, _language in enumerate(LATIN_LANGUAGES):
    for _word in STOP_WORDS[_language]:
        STOP_MASKS[_word] = STOP_MASKS.get(_word, 0) | 1 << _code

OTHER_STOPS: Final[frozenset[str]] = frozenset().union(
    *(STOP_WORDS[name] for name in STOP_WORDS if name not in LATIN_LANGUAGES)
)
"""Stop words of languages that have their script to themselves."""


class _Stemmer(Protocol):
    def stemWord(self, word: str) -> str: ...  # noqa: N802 (PyStemmer's name)


_NO_MARKS: Final = dict.fromkeys(range(0x0300, 0x0370))


@cache
def _stemmer(language: str) -> _Stemmer:
    import Stemmer

    # maxCacheSize=0: callers cache; PyStemmer's own cache costs more than it saves then.
    stemmer: _Stemmer = Stemmer.Stemmer(language, maxCacheSize=0)
    return stemmer


def vote(masks: Iterable[int]) -> int:
    """The code (place in LATIN_LANGUAGES) of the language most of the stop words belong to.

    `masks`: one `STOP_MASKS` value per word. English wins ties and silence.
    """
    counts: dict[int, int] = {}
    for mask in masks:
        if mask:
            counts[mask] = counts.get(mask, 0) + 1
    if all(mask & 1 for mask in counts):
        return 0  # whoever else has them all, English has too
    best, best_votes = 0, sum(count for mask, count in counts.items() if mask & 1)
    for code in range(1, len(LATIN_LANGUAGES)):
        votes = sum(count for mask, count in counts.items() if mask >> code & 1)
        if votes > best_votes:
            best, best_votes = code, votes
    return best


def is_latin(word: str) -> bool:
    """Whether the language of the word must be voted on (its script alone does not tell)."""
    first = ord(word[0])
    return first < 0x0250 or 0x1E00 <= first < 0x1F00


def _script_stemmer(word: str) -> str | None:
    first = ord(word[0])
    for low, high, language in _SCRIPT_STEMMERS:
        if low <= first <= high:
            return language
    return None


def fold(word: str) -> str:
    """The word without diacritics where they are not letters of their own; "й" keeps its breve."""
    if word.isascii() or (ord(word[0]) >= _FOLDED_SCRIPTS_END and not is_latin(word)):
        return word
    kept = (
        char if char == "й" else unicodedata.normalize("NFD", char).translate(_NO_MARKS)
        for char in word
    )
    return "".join(kept).replace("ß", "ss").replace("ø", "o").replace("ł", "l").replace("ı", "i")


@lru_cache(maxsize=WORDS_KEPT)
def stem(word: str, code: int) -> str:
    """The folded stem of a casefolded word; `code` says the language if its script is Latin."""
    language = LATIN_LANGUAGES[code] if is_latin(word) else _script_stemmer(word)
    stemmed = word if language is None else _stemmer(language).stemWord(word)
    return fold(stemmed or word)
