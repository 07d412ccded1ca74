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
    r"(?:(?P<year>(?:19|20)\d\d)\s*[年년]\s*)?"
    r"(?:(?P<month>1[0-2]|0?[1-9]|(?<![一二三四五六七八九十])(?:十[一二]?|[一二三四五六七八九]))\s*[月월]\s*)"
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
_NEAR_DAYS: Final = {
    "before_yesterday": -2,
    "yesterday": -1,
    "today": 0,
    "tomorrow": 1,
    "after_tomorrow": 2,
}
_NEAR_DAY: Final = re.compile(
    r"""
    (?P<before_yesterday>
        \bthe\ day\ before\ yesterday\b|\bvorgestern\b|\bavant[ -]hier\b|\banteayer\b
        |\banteontem\b|\baltro\ ieri\b|позавчера|أول\ أمس|前天|一昨日|おととい|그저께)
    |(?P<after_tomorrow>
        \bthe\ day\ after\ tomorrow\b|\bübermorgen\b|\baprès[ -]demain\b|\bpasado\ mañana\b
        |\bdepois\ de\ amanhã\b|\bdopodomani\b|послезавтра|بعد\ غد|后天|後天|明後日|あさって|모레)
    |(?P<yesterday>
        \byesterday\b|\bgestern\b|\bhier\b|\bayer\b|\bontem\b|\bieri\b|\bgisteren\b
        |вчера|أمس|البارحة|昨天|昨日|어제)
    |(?P<today>
        \btoday\b|\btonight\b|\bheute\b|\bhoy\b|\bhoje\b|\boggi\b|\bvandaag\b
        |сегодня|اليوم|आज|今天|今日|오늘)
    |(?P<tomorrow>
        \btomorrow\b|\bdemain\b|\bmañana\b|\bamanhã\b|\bdomani\b|завтра|غدا|明天|明日|내일)
    """,
    re.VERBOSE,
)
_LAST: Final = re.compile(
    r"""
    (?P<week>
        (?:letzte|vorige)[nr]?\ woche|la\ semaine\ dernière|semana\ pasada|semana\ passada
        |settimana\ scorsa|vorige\ week|прошлой\ неделе|الأسبوع\ الماضي
        |पिछले\ (?:हफ्ते|हफ़्ते|सप्ताह)|上周|上週|上(?:个|個)?星期|上礼拜|先週|지난주)
    |(?P<month>
        (?:letzte|vorige)[nr]?\ monat|le\ mois\ dernier|mes\ pasado|mês\ passado|mese\ scorso
        |vorige\ maand|прошлом\ месяце|الشهر\ الماضي|पिछले\ महीने|上(?:个|個)?月|先月|지난달)
    |(?P<year>
        (?:letzte|vorige)[ns]?\ jahr|l'année\ dernière|l'an\ dernier|año\ pasado|ano\ passado
        |anno\ scorso|vorig\ jaar|прошлом\ году|العام\ الماضي|السنة\ الماضية|पिछले\ साल
        |去年|昨年|작년)
    """,
    re.VERBOSE,
)
"""The week, month or year before this one, in other languages than English."""
_HAN_NUMBERS: Final = {
    **{name: number for number, name in enumerate("一二三四五六七八九十", 1)},
    "两": 2, "兩": 2, "十一": 11, "十二": 12,
}  # fmt: skip
_OTHER_NUMBERS: Final[dict[str, int]] = {
    word: value
    for value, words in enumerate(
        ("", "einem einer un une una", "zwei deux dos", "drei trois tres", "vier quatre cuatro",
         "fünf cinq cinco", "sechs six seis", "sieben sept siete", "acht huit ocho",
         "neun neuf nueve", "zehn dix diez")
    )
    for word in words.split()
}  # fmt: skip
_OTHER_AGO: Final = re.compile(
    r"""
    \b(?:vor|il\ y\ a|hace)\ (?P<n>\d{1,3}|\w+)\ (?:
        (?P<day>tag(?:en)?|jours?|días?)|(?P<week>wochen?|semaines?|semanas?)
        |(?P<month>monat(?:en)?|mois|mes(?:es)?)|(?P<year>jahr(?:en)?|ans?|années?|años?))\b
    |(?<![\d一二三四五六七八九十百])(?P<han>\d{1,3}|十[一二]|[一二两兩三四五六七八九十])\s*(?:
        (?P<han_day>[天日])|(?P<han_week>周|週間?|个星期)
        |(?P<han_month>个月|個月|[かヶヵ]月)|(?P<han_year>年))前
    """,
    re.VERBOSE,
)
"""The same as `_AGO`, in German, French, Spanish, Chinese and Japanese."""
TRIGGERS: Final = frozenset(
    """
    yesterday today tonight tomorrow gestern vorgestern heute hier demain ayer anteayer hoy ontem
    anteontem hoje ieri oggi domani dopodomani gisteren vandaag vor hace il letzte letzten letzter
    letztes vorige vorigen voriger voriges vorig dernier pasada pasado passada passado scorsa scorso
    позавчера прошлой прошлом
    """.split()
)
"""Words that place a question in time. Without one the three above find nothing in ASCII."""
PLACES_MAX: Final = 64
"""Names of times in one question that are looked at."""


def find_spans(
    text: str, reference: datetime | None, zone: tzinfo
) -> tuple[tuple[TimeSpan, ...], list[tuple[int, int]]]:
    """The times a question names, at most 8, and where it names them. `text` is lower case.

    Times relative to now are understood only with `reference`. Days begin in `zone`.
    """
    spans: list[TimeSpan] = []
    places: list[tuple[int, int]] = []
    for span, place in _spans(text, reference, zone):
        places.append(place)
        if span not in spans:
            spans.append(span)
        if len(spans) == 8 or len(places) == PLACES_MAX:
            break
    return tuple(spans), places


Named = tuple[TimeSpan, tuple[int, int]]
"""A time, and the first and the last but one character of its name."""


def _spans(text: str, reference: datetime | None, zone: tzinfo) -> Iterator[Named]:
    rest = text
    words = frozenset(_BETWEEN_WORDS.split(text))
    if _HAS_DIGIT.search(text) or "月" in text or not words.isdisjoint(MONTHS):
        for pattern, groups in _CALENDAR:
            for match in pattern.finditer(rest):
                span = _calendar_span(match, groups, zone)
                if span is not None:
                    yield span, match.span()
            rest = pattern.sub(_blank, rest)
    if reference is not None and 1970 <= reference.year <= 9000:
        now = reference.astimezone(zone)
        yield from _relative_spans(rest, now)
        if not (text.isascii() and words.isdisjoint(TRIGGERS)):
            yield from _other_relative_spans(rest, now)


_HAS_DIGIT: Final = re.compile(r"\d")
_BETWEEN_WORDS: Final = re.compile(r"[^\w\u0900-\u097f]+")  # signs of vowels are no \w


def _blank(match: re.Match[str]) -> str:
    """As many spaces: what follows stays where it is."""
    return " " * len(match[0])


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
    month = MONTHS.get(month_text) or _HAN_NUMBERS.get(month_text) or int(month_text or 0)
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


def _relative_spans(text: str, now: datetime) -> Iterator[Named]:
    today = _midnight(now)
    for match in _AGO.finditer(text):
        yield _ago(today, _number(match["n"]), match["unit"]), match.span()
    for match in _PAST.finditer(text):
        length = _number(match["n"]) * _UNIT_DAYS[match["unit"]]
        yield _days(today - timedelta(days=length), length + 1), match.span()
    for match in _RELATIVE.finditer(text):
        yield _named_relative(today, match["which"], match["unit"]), match.span()


def _other_relative_spans(text: str, now: datetime) -> Iterator[Named]:
    """Days near today, and what other languages than English say of weeks, months and years."""
    today = _midnight(now)
    for match in _NEAR_DAY.finditer(text):
        offset = _NEAR_DAYS[match.lastgroup or "today"]
        yield _days(today + timedelta(days=offset), 1), match.span()
    for match in _OTHER_AGO.finditer(text):
        if count := _other_number(match["n"] or match["han"]):
            unit = (match.lastgroup or "day").removeprefix("han_")
            yield _ago(today, count, unit), match.span()
    for match in _LAST.finditer(text):
        yield _named_relative(today, "last", match.lastgroup or "week"), match.span()


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _other_number(word: str) -> int:
    """A number as other languages than English write it; 0 if it is none."""
    if word.isdecimal():
        return int(word)
    return _HAN_NUMBERS.get(word, 0) or _OTHER_NUMBERS.get(word, 0)


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
