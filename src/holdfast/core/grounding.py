"""Whether the conversation bears out what a model claims: quotes, repetitions, dates.

Everything here compares texts; nothing asks a model.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from holdfast.errors import ValidationError

VERBATIM_CHARS_MIN: Final = 12
"""Shorter passages than this are not taken for a repetition of a memory."""

YEARS_AHEAD_MAX: Final = 100
"""A date further than this after the turn is a mistake, not a plan."""

YEAR_MIN: Final = 1000
"""Earlier years are mistakes."""

_TAG: Final = re.compile(
    r"<(/?)(holdfast-memory|(?:(?:relevant|recalled|retrieved)[-_ ]?)?memor(?:y|ies)"
    r"(?:[-_]context)?)(?:\s[^<>]{0,200})?>",
    re.IGNORECASE,
)
"""Tags around recalled text: our own, and those other integrations use."""
_OWN_TAG: Final = re.compile(r"<(?=/?holdfast-memory)", re.IGNORECASE)
_MARKED: Final = re.compile(
    r"<holdfast-memory>[^<]*(?:<(?!/?holdfast-memory>)[^<]*)*</holdfast-memory>"
)
_ADDRESS: Final = re.compile(r"https?://[^\s<>\"']+|www\.[^\s<>\"']+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_BETWEEN_DIGITS: Final = re.compile(r"(?<=\d)[\s.,'/()-]+(?=\d)")
_LONG_NUMBER: Final = re.compile(r"\d{5,}")
_POINT: Final = re.compile(r"^\s{0,8}(?:[-*+\u2022\u2013>]|\d{1,3}[.)])\s", re.MULTILINE)
_LEFT_OUT: Final = re.compile(r"\[?\.{3,}\]?")
_UNSEEN: Final = dict.fromkeys(
    [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), 0xAD, 0xFEFF]
)
_PLAIN: Final = str.maketrans(
    dict.fromkeys("‘’‚‛`´ʼ′", "'") | dict.fromkeys("“”„‟«»″「」『』", '"')
    | dict.fromkeys("‐‑‒–—―−", "-")
)  # fmt: skip
_WHEN: Final = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{2})(?:-(?P<day>\d{2})"
    r"(?:[T ](?P<clock>\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)(?P<zone>Z|[+-]\d{2}:?\d{2})?)?)?)?"
)


def fold(text: str) -> str:
    """Text for comparing passages: NFKC, case-folded, plain quotes and dashes, single spaces."""
    plain = unicodedata.normalize("NFKC", text).translate(_UNSEEN).translate(_PLAIN)
    return " ".join(unicodedata.normalize("NFKC", plain.casefold()).split())


def content_key(text: str) -> str:
    """Equal for texts that say the same in the same words, whatever their case and punctuation."""
    return fold(text).strip(" \"'.,;:!?。、")


def clean(text: str) -> str:
    """Text that every database and JSON encoder takes: no NUL, no lone surrogates."""
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def mark_recalled(text: str) -> str:
    """Wrap memory text that goes into a conversation, so that it is not stored again.

    What stands between the marks is left out when the conversation is added. The text cannot end
    its own mark: a tag of this name inside begins with another character.
    """
    inside = _OWN_TAG.sub("\u2039", text)
    return f"<holdfast-memory>{inside}</holdfast-memory>"


def strip_marked(text: str) -> str:
    """A message without what `mark_recalled` marked; the text itself if nothing is."""
    return _MARKED.sub(" ", text).strip() if _MARKED.search(text) else text


def strip_recalled(text: str) -> str:
    """A turn's text without the passages that are marked as recalled from memory.

    A passage goes from an opening tag to the next closing tag of the same name; tags without a
    partner are ordinary text.
    """
    tags = list(_TAG.finditer(text)) if "</" in text else []
    kept: list[str] = []
    at = 0
    opened: re.Match[str] | None = None
    for tag in tags:
        closes = opened is not None and tag[1] and tag[2].lower() == opened[2].lower()
        if opened is None and not tag[1]:
            opened = tag
        elif opened is not None and closes:
            kept.append(text[at : opened.start()])
            at, opened = tag.end(), None
    return " ".join([*kept, text[at:]])


def quote_occurs(quote: str, said: str) -> bool:
    """Whether folded `quote` stands in folded `said`, if need be in parts around an ellipsis.

    A quote without a letter or digit supports nothing.
    """
    if not any(char.isalnum() for char in quote):
        return False
    if quote in said:
        return True
    parts = [part.strip() for part in _LEFT_OUT.split(quote)]
    at = 0
    for part in filter(None, parts):
        found = said.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(parts) > 1


def repeats(fact: str, quote: str, said: str, memories: Iterable[str]) -> bool:
    """Whether a turn only says again what a shown memory says; all texts folded.

    True if the fact or its quote stands word for word in a memory, or if the quote lies within a
    passage of the turn that is a whole memory.
    """
    for memory in memories:
        if any(len(part) >= VERBATIM_CHARS_MIN and part in memory for part in (fact, quote)):
            return True
        if len(memory) >= VERBATIM_CHARS_MIN and memory in said and quote in memory:
            return True
    return False


def without_recalled_lines(text: str, memories: Iterable[str]) -> str:
    """A folded turn of several lines without those that are one of the folded `memories`.

    So a list of what was recalled is taken out of a prompt that was added as it was sent. What
    stands on the line beside the memory may be a bullet, a number or a date, but no words.
    """
    lines = [line for line in map(fold, text.splitlines()) if line]
    if len(lines) < 2:  # somebody says it again, and may confirm it
        return fold(text)
    known = [memory for memory in memories if len(memory) >= VERBATIM_CHARS_MIN]
    return " ".join(line for line in lines if not any(_is_only(line, one) for one in known))


def list_lines(text: str) -> int:
    """How many lines of a text are points of a list, as recalled memories often are."""
    return len(_POINT.findall(text))


def _is_only(line: str, memory: str) -> bool:
    before, found, after = line.partition(memory.rstrip("."))
    return bool(found) and not any(char.isalpha() for char in before + after)


def unheard(fact: str, shown: str) -> bool:
    """Whether a folded fact holds an address, or a number of five digits or more, that is nowhere
    in the folded text that was shown: nobody said it. Zeros at the end do not count ("12k")."""
    if any(found.rstrip(".,;:!?)") not in shown for found in _ADDRESS.findall(fact)):
        return True
    numbers = [found for found in _LONG_NUMBER.findall(fact) if len(found.rstrip("0")) >= 5]
    if not numbers:
        return False
    heard = _BETWEEN_DIGITS.sub("", shown)
    return any(number not in heard for number in numbers)


def time_zone(name: str) -> tzinfo:
    """The zone of an IANA name. Raises ValidationError if there is none."""
    if name.upper() in {"UTC", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValidationError(
            f"no time zone is called {name[:64]!r}.", hint="Use an IANA name such as Europe/Berlin."
        ) from error


def event_time(when: str | None, said_at: float, zone: tzinfo) -> float:
    """Epoch seconds of an ISO date, month, year or time told in a turn said at `said_at`.

    Without a time of day it is noon in `zone`, so that it stays on its date in most others; a
    month or year begins at its first day. A date that is none, or out of reach, and the date of
    the turn itself give `said_at`.
    """
    match = _WHEN.fullmatch((when or "").strip())
    if match is None:
        return said_at
    said = datetime.fromtimestamp(said_at, UTC).astimezone(zone)
    try:
        moment = _moment(match, zone)
        if match["clock"] is None and moment.date() == said.date():
            return said_at
        return _within_reach(moment, said)
    except (ValueError, OverflowError):
        return said_at


def _moment(match: re.Match[str], zone: tzinfo) -> datetime:
    """The moment an ISO text means; ValueError if the calendar has no such day."""
    day = f"{match['year']}-{match['month'] or '01'}-{match['day'] or '01'}"
    moment = datetime.fromisoformat(f"{day}T{match['clock'] or '12:00'}{match['zone'] or ''}")
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _within_reach(moment: datetime, said: datetime) -> float:
    """The moment in epoch seconds; ValueError if nobody can have meant it."""
    if moment.year < YEAR_MIN or moment > said + timedelta(days=366 * YEARS_AHEAD_MAX):
        raise ValueError
    return moment.timestamp()
