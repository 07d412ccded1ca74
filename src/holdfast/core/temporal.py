"""Times named in a question: "on 12 July 2023", "last week", "in March", "2024年5月".

A span with a year becomes an interval of epoch seconds; one without recurs every year.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Final

import msgspec


class TimeSpan(msgspec.Struct, frozen=True, gc=False):
    """A time the question names. Either an interval, or a day or month of any year.

    `start`, `end`: epoch seconds, half open; both 0.0 if the year is open.
    `month`: 1..12 if the year is open, else 0. `day`: 1..31 if a day of such a month is named.
    """

    start: float
    end: float
    month: int = 0
    day: int = 0


_MONTH_NAMES: Final = """
january jan janvier januar enero janeiro gennaio
    januari ocak января январе январь يناير जनवरी /
february feb février fevrier februar febrero fevereiro
    febbraio februari şubat февраля феврале февраль فبراير फरवरी /
march mar mars märz marz marzo março
    marco maart mart марта марте март مارس मार्च /
april apr avril abril aprile
    nisan апреля апреле апрель أبريل अप्रैल /
may mai mayo maio maggio mei
    mayıs мая мае май مايو मई /
june jun juin juni junio junho
    giugno haziran июня июне июнь يونيو जून /
july jul juillet juli julio julho
    luglio temmuz июля июле июль يوليو जुलाई /
august aug août aout agosto augustus
    ağustos августа августе август أغسطس अगस्त /
september sep sept septembre septiembre setembro
    settembre eylül сентября сентябре сентябрь سبتمبر सितंबर /
october oct octobre oktober octubre outubro
    ottobre ekim октября октябре октябрь أكتوبر अक्टूबर /
november nov novembre noviembre novembro
    kasım ноября ноябре ноябрь نوفمبر नवंबर /
december dec décembre decembre dezember diciembre dezembro
    dicembre aralık декабря декабре декабрь ديسمبر दिसंबर
"""
MONTHS: Final[dict[str, int]] = {
    name: number
    for number, line in enumerate(_MONTH_NAMES.split("/"), start=1)
    for name in line.split()
}
_WEEKDAYS: Final[dict[str, int]] = {
    name: number
    for number, names in enumerate(
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    )
    for name in (names, names[:3])
}
_NUMBERS: Final[dict[str, int]] = {
    word: value
    for value, words in enumerate(
        ("", "a an one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
    for word in words.split()
}

_MONTH = "|".join(sorted(map(re.escape, MONTHS), key=len, reverse=True))
_DAY = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th|er|º)?\.?"
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_NAMED: Final = re.compile(
    rf"(?<!\w)(?:(?:the\s+)?{_DAY}\s*(?:of\s+|de\s+)?)?(?P<month>{_MONTH})(?!\w)\.?"
    rf"(?:\s*(?P<after>[0-3]?\d)(?:st|nd|rd|th)?(?![\d:]))?(?:,?\s*(?:of\s+|de\s+|del\s+)?{_YEAR}(?!\d))?"
)
_NUMERIC: Final = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)[-/.](?P<month>[01]?\d)(?:[-/.](?P<day>[0-3]?\d))?(?!\d)"
    r"|(?<!\d)(?P<day2>[0-3]?\d)\.(?P<month2>[01]?\d)\.(?P<year2>(?:19|20)\d\d)(?!\d)"
)
_EAST_ASIAN: Final = re.compile(
    r"(?:(?P<year>(?:19|20)\d\d)\s*[年년]\s*)?(?:(?P<month>1[0-2]|0?[1-9])\s*[月월]\s*)"
    r"(?:(?P<day>[0-3]?\d)\s*[日号號일])?"
)
_BARE_YEAR: Final = re.compile(r"(?<![\d.,:/-])(?P<year>(?:19|20)\d\d)(?![\d:/-])")
_AGO: Final = re.compile(
    r"\b(?P<n>\d{1,3}|an?|one|two|three|four|five|six|seven|eight|nine|ten)\s+"
    r"(?P<unit>day|week|month|year)s?\s+ago\b"
)
_PAST: Final = re.compile(
    r"\b(?:last|past)\s+(?P<n>\d{1,3}|two|three|four|five|six|seven|eight|nine|ten)\s+"
    r"(?P<unit>day|week|month|year)s?\b"
)
_RELATIVE: Final = re.compile(
    r"\b(?P<which>last|past|previous|this|next|coming)\s+"
    r"(?P<unit>day|week|weekend|month|year|night|monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b"
)
_NEAR_DAYS: Final = (
    (
        re.compile(
            r"\byesterday\b|\bgestern\b|\bhier\b|\bayer\b|\bontem\b|\bieri\b|вчера|昨天|昨日|어제"
        ),
        -1,
    ),
    (
        re.compile(
            r"\btoday\b|\btonight\b|\bheute\b|\bhoy\b|\bhoje\b|\boggi\b|сегодня|今天|今日|오늘"
        ),
        0,
    ),
    (re.compile(r"\btomorrow\b|\bmañana\b|\bamanhã\b|\bdomani\b|завтра|明天|明日|내일"), 1),
)
_EAST_ASIAN_RELATIVE: Final = (
    (re.compile("上周|上週|上星期|上礼拜|先週|지난주"), "last", "week"),
    (re.compile("上个月|上個月|先月|지난달"), "last", "month"),
    (re.compile("去年|작년"), "last", "year"),
    (re.compile("letzte[nr]? woche|la semaine dernière|la semana pasada"), "last", "week"),
    (re.compile("letzte[nr]? monat|le mois dernier|el mes pasado"), "last", "month"),
    (re.compile("letzte[ns]? jahr|l'année dernière|l'an dernier|el año pasado"), "last", "year"),
)


def find_spans(text: str, reference: datetime | None, zone: tzinfo) -> tuple[TimeSpan, ...]:
    """The times a question names, at most 8. `text` is lower case.

    Times relative to now are understood only with `reference`. Days begin in `zone`.
    """
    spans: list[TimeSpan] = []
    for span in _spans(text, reference, zone):
        if span not in spans:
            spans.append(span)
        if len(spans) == 8:
            break
    return tuple(spans)


def _spans(text: str, reference: datetime | None, zone: tzinfo) -> Iterator[TimeSpan]:
    rest = text
    if any(char.isdigit() for char in text) or any(
        word in MONTHS for word in re.split(r"\W+", text)
    ):
        for pattern, groups in _CALENDAR:
            for match in pattern.finditer(rest):
                span = _calendar_span(match, groups, zone)
                if span is not None:
                    yield span
            rest = pattern.sub(" ", rest)
    if reference is not None and 1970 <= reference.year <= 9000:
        yield from _relative_spans(rest, reference.astimezone(zone))


_CALENDAR: Final = (
    (_NUMERIC, ("year", "month", "day")),
    (_EAST_ASIAN, ("year", "month", "day")),
    (_NAMED, ("year", "month", "day")),
    (_BARE_YEAR, ("year", None, None)),
)


def _calendar_span(
    match: re.Match[str], groups: tuple[str, str | None, str | None], zone: tzinfo
) -> TimeSpan | None:
    found = match.groupdict()
    month_text = found.get("month") or found.get("month2") or ""
    if month_text == "may" and not _is_month_may(match):
        return None
    month = MONTHS.get(month_text, 0) or int(month_text or 0)
    day = int(found.get("day") or found.get("day2") or found.get("after") or 0)
    year = int(found.get("year") or found.get("year2") or 0)
    if year:
        return _interval(year, month, day, zone)
    if 1 <= month <= 12 and day <= 31:
        return TimeSpan(0.0, 0.0, month, day)
    return None


def _is_month_may(match: re.Match[str]) -> bool:
    """ "may" is a verb unless a day, a year or a preposition stands beside it."""
    found = match.groupdict()
    before = match.string[: match.start()].rstrip()
    dated = any(found.get(group) for group in ("day", "after", "year"))
    return dated or before.endswith(
        ("in", "of", "last", "this", "since", "until", "by", "during", "en")
    )


def _interval(year: int, month: int, day: int, zone: tzinfo) -> TimeSpan | None:
    """The year, month or day as an interval; None if there is no such day."""
    try:
        start = datetime(year, month or 1, day or 1, tzinfo=zone)
    except ValueError:
        return None
    if day:
        end = start + timedelta(days=1)
    elif month:
        end = _months_later(start, 1)
    else:
        end = start.replace(year=year + 1)
    return TimeSpan(start.timestamp(), end.timestamp())


def _months_later(start: datetime, months: int) -> datetime:
    """The first day of the month `months` after that of `start`."""
    index = start.year * 12 + start.month - 1 + months
    return start.replace(year=index // 12, month=index % 12 + 1, day=1)


def _relative_spans(text: str, now: datetime) -> Iterator[TimeSpan]:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for pattern, days in _NEAR_DAYS:
        if pattern.search(text):
            yield _days(today + timedelta(days=days), 1)
    for match in _AGO.finditer(text):
        yield _ago(today, _number(match["n"]), match["unit"])
    for match in _PAST.finditer(text):
        length = _number(match["n"]) * _UNIT_DAYS[match["unit"]]
        yield _days(today - timedelta(days=length), length + 1)
    for match in _RELATIVE.finditer(text):
        yield _named_relative(today, match["which"], match["unit"])
    for pattern, which, unit in _EAST_ASIAN_RELATIVE:
        if pattern.search(text):
            yield _named_relative(today, which, unit)


_UNIT_DAYS: Final = {"day": 1, "week": 7, "month": 30, "year": 365}


def _number(word: str) -> int:
    return int(word) if word.isdecimal() else _NUMBERS[word]


def _days(start: datetime, count: int) -> TimeSpan:
    return TimeSpan(start.timestamp(), (start + timedelta(days=count)).timestamp())


def _ago(today: datetime, count: int, unit: str) -> TimeSpan:
    """ "Three weeks ago" means about then: half a unit to either side."""
    length = _UNIT_DAYS[unit]
    centre = today - timedelta(days=count * length)
    slack = length // 2
    return _days(centre - timedelta(days=slack), 2 * slack + 1)


def _named_relative(today: datetime, which: str, unit: str) -> TimeSpan:
    step = {"this": 0, "next": 1, "coming": 1}.get(which, -1)
    if unit in ("day", "night"):
        return _days(today + timedelta(days=step), 1)
    if unit in _WEEKDAYS:
        back = (today.weekday() - _WEEKDAYS[unit]) % 7
        offset = -(back or 7) if step < 0 else (7 - back) % 7 or 7
        return _days(today + timedelta(days=offset), 1)
    if unit == "month":
        start = _months_later(today, step)
        return TimeSpan(start.timestamp(), _months_later(start, 1).timestamp())
    if unit == "year":
        start = today.replace(year=today.year + step, month=1, day=1)
        return TimeSpan(start.timestamp(), start.replace(year=start.year + 1).timestamp())
    monday = today - timedelta(days=today.weekday()) + timedelta(weeks=step)
    if unit == "weekend":
        return _days(monday + timedelta(days=4), 3)
    return _days(monday, 7)
