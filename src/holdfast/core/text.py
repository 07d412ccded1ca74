"""Text to index terms, at write time and at query time.

A term is the keyed 64-bit hash of a folded stem (or of a two-character piece, in scripts without
spaces), so an index over terms holds no plaintext. A text is stemmed in one language when written;
a question is stemmed in all of them, so that both meet whatever language was guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from holdfast.core import language, stopwords
from holdfast.core.asking import ASKS_WHEN, HAN_OF_ANYTHING, OF_ANYTHING, asked, framing
from holdfast.core.language import WORDS_KEPT
from holdfast.core.temporal import MONTHS, TRIGGERS, TimeSpan, find_spans
from holdfast.model import IndexTerms

ANALYSIS: Final = 1
"""Version of what `analyze` gives: count it up with every change that old terms would not match."""

WORD_CHARS_MAX: Final = 64
"""Longer words are cut: they are data, not words."""

_CHUNK_CHARS: Final = 48
"""What is longer between two blanks is not met again."""

_NAMES_CHARS: Final = 20_000
"""Names are looked for in this much of a text."""

QUESTION: Final = 1
"""Flag of a stored text: it ends with a question. Flags are stored: never renumber."""
TIME: Final = 2
"""Flag: it has a time expression."""
NUMBER: Final = 4
"""Flag: it has a number."""
FIRST_PERSON: Final = 8
"""Flag: the speaker talks about themselves."""
LANGUAGE_SHIFT: Final = 8
"""Flags bits 8..15: language code, see `language.LATIN_LANGUAGES`."""
NAME_SHIFT: Final = 16
"""Flags bits 16..17: how many of the first terms are the speaker's name."""
_NAME_WORDS_MAX: Final = 3
NAMES_SHIFT: Final = 18
NAMES_MAX: Final = 7
"""Flags bits 18..20: words that are capitalised inside a sentence, at most 7."""


class QueryTerm(msgspec.Struct, frozen=True, gc=False):
    """One word of a question.

    `alternatives`: (term, languages) pairs: the term if the stored text was taken for one of the
    languages, a bit set over LATIN_LANGUAGES. `start`, `end`: characters of the question.
    `pair`: it was cut from a run without spaces, and need not be a word. `frame`: it speaks of the
    conversation itself or of the form of the answer, see `asking.framing`.
    """

    alternatives: tuple[tuple[int, int], ...]
    start: int
    end: int
    pair: bool = False
    frame: bool = False


class Query(msgspec.Struct, frozen=True):
    """A question, ready to be ranked against any view of the same key.

    `only_times`: it names times (`spans`), and but for the frame nothing else.
    """

    terms: tuple[QueryTerm, ...]
    asks: int
    spans: tuple[TimeSpan, ...]
    text: str = ""
    only_times: bool = False


def without_times(query: Query) -> Query:
    """The same question, whose times are words like others: none it names, and no asking when."""
    return msgspec.structs.replace(query, asks=query.asks & ~ASKS_WHEN, spans=(), only_times=False)


_MARKS: Final = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a"
    "\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0711\u0730-\u074a"
    "\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963\u0981-\u0983\u09bc-\u09cd\u09d7\u0a01-\u0a03"
    "\u0a3c-\u0a4d\u0a70\u0a71\u0a81-\u0a83\u0abc-\u0acd\u0b01-\u0b03\u0b3c-\u0b57\u0b82\u0bbe-\u0bcd"
    "\u0c00-\u0c04\u0c3e-\u0c56\u0c81-\u0c83\u0cbc-\u0cd6\u0d00-\u0d03\u0d3b-\u0d4d\u0d57\u0d82\u0d83"
    "\u0dca-\u0ddf\u0f71-\u0f84\u1dc0-\u1dff\u200c\u200d\u20d0-\u20f0\ufe20-\ufe2f"
)
_UNSPACED: Final = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u1049\u1050-\u109f\u1100-\u11ff\u1780-\u17d3"
    "\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_TOKEN: Final = re.compile(
    rf"(?P<run>[{_UNSPACED}]+)"
    r"|(?P<number>\d+(?:[.,:]\d+)*)"
    rf"|(?P<word>[^\W\d_{_UNSPACED}](?:[^\W_{_UNSPACED}]|[{_MARKS}])*)"
)
_QUESTION_END: Final = re.compile(r"[?？؟;][\s\"'”’)\]*_😊😄🙂🤔]*\Z")
_POSSESSIVE: Final = re.compile(r"['’]s\b")
_GROUPED: Final = re.compile(r",(?=\d{3}(?:\D|$))")
_CAPITALISED: Final = re.compile(r"(?<=[^\W\d_A-ZÀ-ÞА-Я][ ,'’\"“(])[A-ZÀ-ÖØ-ÞА-ЯЁ][^\W\d_]")
_ROLE_NAMES: Final = frozenset(
    {"user", "assistant", "system", "tool", "human", "ai", "bot", "agent"}
)

_ALL_LANGUAGES: Final = (1 << len(language.LATIN_LANGUAGES)) - 1


class _Word(msgspec.Struct, frozen=True, gc=False):
    """A token without its text around it: normal form, languages it is a stop word of, flags."""

    normal: str
    stop: int
    flags: int


@lru_cache(maxsize=WORDS_KEPT)
def _word(raw: str) -> _Word:
    """A word or number as it is compared."""
    normal = unicodedata.normalize("NFKC", raw[:WORD_CHARS_MAX]).casefold()
    if raw[0].isdigit():
        return _Word(_GROUPED.sub("", normal).lstrip("0") or "0", 0, NUMBER)
    flags = 0
    if normal in stopwords.TIME_WORDS or (normal in MONTHS and normal != "may"):
        flags |= TIME
    if normal in stopwords.NUMBER_WORDS:
        flags |= NUMBER
    if normal in stopwords.FIRST_PERSON:
        flags |= FIRST_PERSON
    stop = _ALL_LANGUAGES if normal in language.OTHER_STOPS else language.STOP_MASKS.get(normal, 0)
    return _Word(normal, stop, flags)


@lru_cache(maxsize=WORDS_KEPT)
def _term(normal: str, code: int, key: bytes) -> bytes:
    """The term of a normal form: 8 bytes."""
    stemmed = normal if normal[0].isdigit() else language.stem(normal, code)
    return _hash(stemmed, key)


@lru_cache(maxsize=WORDS_KEPT)
def _hash(piece: str, key: bytes) -> bytes:
    return blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()


@lru_cache(maxsize=WORDS_KEPT)
def _alternatives(normal: str, key: bytes) -> tuple[tuple[int, int], ...]:
    """Every term a stored word of this form may have, with the languages that lead to it."""
    if normal[0].isdigit() or not language.is_latin(normal):
        return ((int.from_bytes(_term(normal, 0, key), "little"), _ALL_LANGUAGES),)
    found: dict[int, int] = {}
    for code in range(len(language.LATIN_LANGUAGES)):
        term = int.from_bytes(_term(normal, code, key), "little")
        found[term] = found.get(term, 0) | 1 << code
    return tuple(found.items())


def _pieces(run: str) -> Iterator[tuple[str, int]]:
    """Two-character pieces of a run without spaces and where they start, and its Han characters.

    A Han character is a word or nearly one; leaving out those that are grammar, they find what a
    pair cut elsewhere misses.
    """
    if len(run) == 1:
        yield run, 0
        return
    for start, char in enumerate(run):
        if "\u4e00" <= char <= "\u9fff" and char not in stopwords.STOP_HAN:
            yield char, start
    for start in range(len(run) - 1):
        piece = run[start : start + 2]
        if piece not in stopwords.STOP_BIGRAMS:
            yield piece, start


def _run_flags(run: str) -> int:
    flags = 0
    if any(word in run for word in stopwords.TIME_RUNS):
        flags |= TIME
    if any(word in run for word in stopwords.FIRST_PERSON_RUNS):
        flags |= FIRST_PERSON
    return flags


@lru_cache(maxsize=WORDS_KEPT)
def _chunk(raw: str) -> tuple[_Word, ...] | None:
    """The words of what stands between two blanks; None if a run without spaces is among them."""
    words = []
    for match in _TOKEN.finditer(raw):
        if match.lastgroup == "run":
            return None
        words.append(_word(match.group()))
    return tuple(words)


def _tokens(text: str, key: bytes) -> tuple[list[_Word], list[bytes], int, int]:
    """The words of a text, the terms of its runs, how long these are together, and their flags.

    No word goes over a blank, and most of what stands between two was met before.
    """
    words: list[_Word] = []
    for raw in text.split(" "):
        found = _chunk(raw) if len(raw) <= _CHUNK_CHARS else None
        if found is None:
            return _all_tokens(text, key)
        words += found
    return words, [], 0, 0


def _all_tokens(text: str, key: bytes) -> tuple[list[_Word], list[bytes], int, int]:
    words: list[_Word] = []
    pieces: list[bytes] = []
    runs = flags = 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "run":
            run = unicodedata.normalize("NFKC", match.group()) if runs < 4_096 else match.group()
            flags |= _run_flags(run)
            pieces.extend(_hash(piece, key) for piece, _ in _pieces(run))
            runs += len(run)
        else:
            words.append(_word(match.group()))
    return words, pieces, runs, flags


def analyze(text: str, *, actor: str | None, role: str | None, key: bytes = b"") -> IndexTerms:
    """The index terms of a text that is about to be stored. Any string is fine; time is linear.

    `actor` is who said it; the name counts as text, and as the speaker. Names that only repeat a
    role ("user") do not. `key`: at most 64 bytes; terms of different keys never meet.
    """
    words, pieces, runs, flags = _tokens(text, key)
    if _QUESTION_END.search(text[-64:]):
        flags |= QUESTION
    code = language.vote([word.stop for word in words[:256]])
    for word in words:
        flags |= word.flags
    name = _name_terms(actor, role, key)
    kept = [_term(word.normal, code, key) for word in words if not word.stop >> code & 1]
    return IndexTerms(
        terms=b"".join((*name, *kept, *pieces)),
        flags=flags
        | code << LANGUAGE_SHIFT
        | len(name) << NAME_SHIFT
        | min(NAMES_MAX, len(_CAPITALISED.findall(text, 0, _NAMES_CHARS))) << NAMES_SHIFT,
        words=len(words) + (runs + 1) // 2,
        speaker=speaker_hash(actor, role, key),
    )


def _spoken_name(actor: str | None, role: str | None) -> list[str]:
    """The words of a speaker's name in normal form; none for a name that is a role."""
    if not actor or actor == role or actor.casefold() in _ROLE_NAMES:
        return []
    words = [_word(match.group()).normal for match in _TOKEN.finditer(actor[:512])]
    return words[:_NAME_WORDS_MAX]


def _name_terms(actor: str | None, role: str | None, key: bytes) -> list[bytes]:
    return [_term(word, 0, key) for word in _spoken_name(actor, role)]


def speaker_hash(actor: str | None, role: str | None, key: bytes = b"") -> int:
    """63-bit keyed hash of the normalised name of a speaker; 0 if there is none."""
    words = _spoken_name(actor, role)
    if not words:
        return 0
    return int.from_bytes(_hash("\x00" + " ".join(words), key), "little") >> 1 or 1


def analyze_query(
    text: str, *, key: bytes = b"", reference: datetime | None = None, zone: tzinfo = UTC
) -> Query:
    """A question as terms, kinds and times; any string is fine.

    `reference` is "now" for "last week"; days begin in `zone`; `key` is that of the stored terms.
    """
    words: list[tuple[_Word, int, int]] = []
    runs: list[str] = []
    terms: list[QueryTerm] = []
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "run":
            runs.append(match.group())
            terms.extend(_run_terms(match.group(), match.start(), key))
        else:
            words.append((_word(match.group()), match.start(), match.end()))
    code = language.vote([word.stop for word, _, _ in words])
    frame = framing([word.normal for word, _, _ in words])
    terms.extend(
        QueryTerm(_alternatives(word.normal, key), start, end, frame=framed)
        for (word, start, end), framed in zip(words, frame, strict=True)
        if not word.stop >> code & 1
    )
    timed = runs or any(
        word.flags & (TIME | NUMBER) or word.normal in TRIGGERS or word.normal == "may"
        for word, _, _ in words
    )
    lowered = text.lower()
    spans, places = find_spans(lowered, reference, zone) if timed else ((), [])
    return Query(
        terms=tuple(terms),
        asks=asked([word.normal for word, _, _ in words], runs),
        spans=spans,
        text=text,
        # a few letters grow when they are made small: then places are not those of the text
        only_times=bool(spans)
        and len(lowered) == len(text)
        and _nothing_else(text, terms, places, words),
    )


def _nothing_else(
    text: str,
    terms: list[QueryTerm],
    places: list[tuple[int, int]],
    words: list[tuple[_Word, int, int]],
) -> bool:
    """Whether every word is of the name of a time, of the frame, or fits anything said."""
    idle = {start for word, start, _ in words if word.normal in OF_ANYTHING}
    left = list(text)
    for start, end in places:
        left[start:end] = " " * (end - start)
    return all(
        term.frame
        or term.start in idle
        or all(mark in HAN_OF_ANYTHING for mark in left[term.start : term.end])
        for term in terms
    )


def _run_terms(run: str, offset: int, key: bytes) -> Iterator[QueryTerm]:
    normal = unicodedata.normalize("NFKC", run)
    pieces = list(_pieces(normal))
    for (piece, start), frame in zip(pieces, framing([piece for piece, _ in pieces]), strict=True):
        term = int.from_bytes(_hash(piece, key), "little")
        begin = min(offset + start, offset + len(run))
        end = min(begin + len(piece), offset + len(run))
        yield QueryTerm(((term, _ALL_LANGUAGES),), begin, end, len(piece) > 1, frame)


def without_terms(query: Query, terms: Container[int]) -> str:
    """The question with the words struck out that have one of these terms (its speakers' names).

    For embedders that see the question as a whole: a name that is in every memory drowns the rest.
    The whole question if nothing else would remain.
    """
    kept: list[str] = []
    position = 0
    rest = False
    for term in sorted(query.terms, key=lambda term: term.start):
        if any(value in terms for value, _ in term.alternatives):
            kept.append(query.text[position : term.start])
            belongs = _POSSESSIVE.match(query.text, term.end)
            position = max(position, belongs.end() if belongs else term.end)
        else:
            rest = True
    kept.append(query.text[position:])
    return " ".join("".join(kept).split()) if rest else query.text
