"""Text analysis: terms, flags, languages, times, and hostile input."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import language, text
from holdfast.core.asking import ASKS_NUMBER, ASKS_OVERVIEW, ASKS_WHEN
from holdfast.core.text import analyze, analyze_query, without_terms

HOSTILE = {
    "empty": "",
    "blank": " \n\t ",
    "nul": "a\x00b\x00",
    "surrogate": "lone \ud800 half \udfff",
    "emoji": "👩‍👩‍👧 🏳️‍🌈 🙂",
    "right to left": "\u202eשלום \u0627\u0644\u0633\u0644\u0627\u0645",
    "marks only": "\u0301" * 500,
    "ligature": "ﷺ ﬁne ½ ①",
    "apostrophes": "'’'’''",
    "question marks": "?" * 300,
    "dotted capital": "İSTANBUL ıssız",
}
BIG = {
    "letters": "a" * 1_000_000,
    "marks": "a" + "\u0316\u0301" * 500_000,
    "han": "漢字" * 500_000,
    "digits": "1," * 500_000,
    "capitals": "Ab " * 333_333,
    "spaces": "the" + " " * 1_000_000,
    "ends": "? " * 500_000,
}


def stored(value: str, actor: str | None = None) -> set[int]:
    found = analyze(value, actor=actor, role=None)
    return set(np.frombuffer(found.terms, dtype="<u8").tolist())


def asked(value: str) -> list[set[int]]:
    return [{term for term, _ in each.alternatives} for each in analyze_query(value).terms]


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_analysed(value: str) -> None:
    found = analyze(value, actor=value, role=value)
    assert len(found.terms) % 8 == 0
    assert found.words >= 0
    for term in analyze_query(value).terms:
        assert 0 <= term.start <= term.end <= len(value)


@pytest.mark.parametrize("value", BIG.values(), ids=BIG)
def test_a_megabyte_takes_linear_time(value: str) -> None:
    began = time.perf_counter()
    analyze(value, actor=None, role=None)
    analyze_query(value[:32_768])
    assert time.perf_counter() - began < 8.0


@given(st.text(max_size=60))
def test_a_text_meets_itself(value: str) -> None:
    terms = stored(value)
    for alternatives in asked(value):
        assert alternatives & terms, "a question in the words of the text must find every one"


_JOINED = st.lists(
    st.one_of(
        st.text(max_size=8), st.sampled_from([*HOSTILE.values()]), st.from_regex(r"\d+[.,:]?")
    ),
    max_size=12,
).map(" ".join)


@given(_JOINED)
def test_what_was_met_before_is_analysed_as_the_whole_text_is(value: str) -> None:
    assert text._tokens(value, b"key") == text._all_tokens(value, b"key")


@given(st.text(max_size=40), st.sampled_from(range(len(language.LATIN_LANGUAGES))))
def test_a_question_is_stemmed_in_the_language_of_the_text(value: str, code: int) -> None:
    """Whatever a text was taken for, the question has the term it was stored under, marked so."""
    for term, (word, _, _) in zip(*_latin(value), strict=True):
        wanted = int.from_bytes(text._term(word, code, b""), "little")
        assert any(found == wanted and mask >> code & 1 for found, mask in term.alternatives)


def _latin(value: str) -> tuple[list[text.QueryTerm], list[tuple[str, int, int]]]:
    terms = [t for t in analyze_query(value).terms if not t.pair]
    words = [(text._word(value[t.start : t.end]).normal, t.start, t.end) for t in terms]
    kept = [i for i, (word, _, _) in enumerate(words) if language.is_latin(word)]
    return [terms[i] for i in kept], [words[i] for i in kept]


@pytest.mark.parametrize(
    ("value", "question", "name"),
    [
        ("Ich habe die Katzen gefüttert, und das war schön", "Katze", "german"),
        ("Nous avons acheté une maison dans le village", "maisons", "french"),
        ("Ayer compramos unas manzanas para la abuela", "manzana", "spanish"),
        ("Abbiamo comprato i biglietti per la mostra", "biglietto", "italian"),
        ("Мы вчера купили новые книги", "книга", "russian"),
        ("मैंने कल किताबें खरीदीं", "किताब", "hindi"),
        ("I was painting the fences", "fence painted", "english"),
    ],
)
def test_short_questions_meet_inflected_texts(value: str, question: str, name: str) -> None:
    terms = stored(value)
    assert all(alternatives & terms for alternatives in asked(question)), name


@pytest.mark.parametrize(
    ("value", "question"),
    [
        ("我昨天在图书馆学习", "图书馆"),
        ("我昨天在图书馆学习", "馆"),
        ("週末に図書館へ行きました", "図書館"),
        ("เมื่อวานไปห้องสมุด", "ห้องสมุด"),
        ("도서관에서 책을 읽었다", "도서관"),
        ("我喜欢Python编程", "python"),
        ("ﾃﾚﾋﾞを見た", "テレビ"),
    ],
)
def test_scripts_without_spaces(value: str, question: str) -> None:
    found = asked(question)
    assert found
    assert all(alternatives & stored(value) for alternatives in found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café", "cafe"),
        ("naïve", "NAIVE"),
        ("$1,000", "1000"),
        ("Caroline's", "caroline"),
        ("Straße", "STRASSE"),
        ("ＡＢＣ", "abc"),
        ("snake_case", "snake"),
    ],
)
def test_forms_of_one_word_meet(one: str, other: str) -> None:
    assert stored(one) & stored(other)


def test_different_words_and_keys_do_not_meet() -> None:
    assert not stored("guitar") & stored("violin")
    other = analyze("guitar", actor=None, role=None, key=b"k" * 32)
    assert not stored("guitar") & set(np.frombuffer(other.terms, dtype="<u8").tolist())


def test_stop_words_are_not_terms() -> None:
    assert analyze("What did you do with them?", actor=None, role=None).terms == b""
    assert analyze_query("What did you do with them?").terms == ()


def test_the_speaker_is_text_and_who_speaks() -> None:
    found = analyze("hello", actor="Ana María Ruiz", role=None)
    assert stored("Ana") & set(np.frombuffer(found.terms, dtype="<u8").tolist())
    assert found.speaker == text.speaker_hash("ana maría RUIZ", None)
    assert 0 < found.speaker < 2**63
    assert found.flags >> text.NAME_SHIFT & 3 == 3


@pytest.mark.parametrize("actor", [None, "", "user", "Assistant", "???"])
def test_a_role_is_no_speaker(actor: str | None) -> None:
    found = analyze("guitar", actor=actor, role="user")
    assert (found.speaker, len(found.terms)) == (0, 8)


@pytest.mark.parametrize(
    ("value", "flag", "is_set"),
    [
        ("How are you?", text.QUESTION, True),
        ("How are you? 😊", text.QUESTION, True),
        ("你好吗？", text.QUESTION, True),
        ("Why? Because.", text.QUESTION, False),
        ("We met last Friday", text.TIME, True),
        ("我们上周见面", text.TIME, True),
        ("It may rain", text.TIME, False),
        ("We have 3 dogs", text.NUMBER, True),
        ("I have three dogs", text.NUMBER, True),
        ("Dogs bark", text.NUMBER, False),
        ("I like it", text.FIRST_PERSON, True),
        ("He likes it", text.FIRST_PERSON, False),
    ],
)
def test_flags(value: str, flag: int, is_set: bool) -> None:
    assert bool(analyze(value, actor=None, role=None).flags & flag) is is_set


def test_capitalised_words_are_counted() -> None:
    found = analyze("Yesterday we met Laura at Blue Horizon Studios.", actor=None, role=None)
    assert found.flags >> text.NAMES_SHIFT & text.NAMES_MAX == 4


@pytest.mark.parametrize(
    ("question", "asks"),
    [
        ("When did they move?", ASKS_WHEN),
        ("What year was it?", ASKS_WHEN),
        ("How many dogs are there?", ASKS_NUMBER),
        ("Wie viele Hunde gibt es?", ASKS_NUMBER),
        ("Wann war das?", ASKS_WHEN),
        ("你什么时候去的？", ASKS_WHEN),
        ("いくつありますか", ASKS_NUMBER),
        ("Can you give me a summary of my plans?", ASKS_OVERVIEW),
        ("Gib mir eine Zusammenfassung", ASKS_OVERVIEW),
        ("总结一下我的计划", ASKS_OVERVIEW),
        ("What many people do", 0),
        ("Where is it?", 0),
    ],
)
def test_what_a_question_asks_for(question: str, asks: int) -> None:
    assert analyze_query(question).asks == asks


@pytest.mark.parametrize(
    ("question", "frame"),
    [
        ("List the different books of our conversations", {"List", "different", "conversations"}),
        ("Can you summarize what changed in my will?", {"summarize"}),
        ("Welche Themen hatte unser Gespräch im Mai?", {"Themen", "Gespräch"}),
        ("总结一下我读过的书", {"总结"}),
        ("Which list is for the different books?", set()),
        ("What did Ann order?", set()),
        ("", set()),
    ],
)
def test_words_of_the_talk_frame_a_question(question: str, frame: set[str]) -> None:
    terms = analyze_query(question).terms
    assert {question[term.start : term.end] for term in terms if term.frame} == frame


NOW = datetime(2024, 3, 13, 15, 30, tzinfo=UTC)  # a Wednesday


def day(year: int, month: int, number: int) -> float:
    return datetime(year, month, number, tzinfo=UTC).timestamp()


BEFORE_YESTERDAY = [
    "the day before yesterday", "vorgestern", "avant-hier", "anteayer", "anteontem",
    "l'altro ieri", "позавчера", "أول أمس", "前天", "一昨日", "그저께",
]  # fmt: skip
YESTERDAY = [
    "gestern", "hier", "ayer", "ontem", "ieri", "gisteren", "вчера", "أمس", "昨天", "昨日", "어제",
]  # fmt: skip
TOMORROW = ["tomorrow", "demain", "amanhã", "domani", "завтра", "غدا", "明天", "내일"]
AFTER_TOMORROW = ["übermorgen", "après-demain", "pasado mañana", "dopodomani", "后天", "明後日"]
LAST_WEEK = [
    "letzte Woche", "vorige Woche", "la semaine dernière", "la semana pasada", "semana passada",
    "la settimana scorsa", "vorige week", "на прошлой неделе", "الأسبوع الماضي", "पिछले हफ्ते", "上周",
    "上个星期", "先週", "지난주",
]  # fmt: skip
LAST_MONTH = [
    "letzten Monat", "le mois dernier", "el mes pasado", "mês passado", "il mese scorso",
    "vorige maand", "в прошлом месяце", "الشهر الماضي", "पिछले महीने", "上个月", "先月",
]  # fmt: skip
LAST_YEAR = [
    "letztes Jahr", "l'année dernière", "el año pasado", "ano passado", "l'anno scorso",
    "vorig jaar", "в прошлом году", "العام الماضي", "पिछले साल", "去年", "昨年", "작년",
]  # fmt: skip
THREE_DAYS_AGO = ["vor drei Tagen", "il y a 3 jours", "hace tres días", "三天前", "3日前"]


@pytest.mark.parametrize(
    ("question", "start", "end"),
    [
        ("on 12 July 2023", day(2023, 7, 12), day(2023, 7, 13)),
        ("on July 12th, 2023", day(2023, 7, 12), day(2023, 7, 13)),
        ("on 2023-07-12", day(2023, 7, 12), day(2023, 7, 13)),
        ("am 12. Juli 2023", day(2023, 7, 12), day(2023, 7, 13)),
        ("am 12.7.2023", day(2023, 7, 12), day(2023, 7, 13)),
        ("2023年7月12日", day(2023, 7, 12), day(2023, 7, 13)),
        ("in December 2023", day(2023, 12, 1), day(2024, 1, 1)),
        ("in May 2023", day(2023, 5, 1), day(2023, 6, 1)),
        ("in 2023", day(2023, 1, 1), day(2024, 1, 1)),
        ("yesterday", day(2024, 3, 12), day(2024, 3, 13)),
        ("昨天吃了什么", day(2024, 3, 12), day(2024, 3, 13)),
        *((words, day(2024, 3, 11), day(2024, 3, 12)) for words in BEFORE_YESTERDAY),
        *((words, day(2024, 3, 12), day(2024, 3, 13)) for words in YESTERDAY),
        *((words, day(2024, 3, 14), day(2024, 3, 15)) for words in TOMORROW),
        *((words, day(2024, 3, 15), day(2024, 3, 16)) for words in AFTER_TOMORROW),
        *((words, day(2024, 3, 4), day(2024, 3, 11)) for words in LAST_WEEK),
        *((words, day(2024, 2, 1), day(2024, 3, 1)) for words in LAST_MONTH),
        *((words, day(2023, 1, 1), day(2024, 1, 1)) for words in LAST_YEAR),
        *((words, day(2024, 3, 10), day(2024, 3, 11)) for words in THREE_DAYS_AGO),
        ("2023年六月", day(2023, 6, 1), day(2023, 7, 1)),
        ("45天前", day(2024, 1, 28), day(2024, 1, 29)),
        ("last week", day(2024, 3, 4), day(2024, 3, 11)),
        ("last month", day(2024, 2, 1), day(2024, 3, 1)),
        ("last year", day(2023, 1, 1), day(2024, 1, 1)),
        ("last Friday", day(2024, 3, 8), day(2024, 3, 9)),
        ("next Friday", day(2024, 3, 15), day(2024, 3, 16)),
        ("two days ago", day(2024, 3, 11), day(2024, 3, 12)),
        ("in the last 3 days", day(2024, 3, 10), day(2024, 3, 14)),
    ],
)
def test_times_named(question: str, start: float, end: float) -> None:
    (span,) = analyze_query(question, reference=NOW).spans
    assert (span.start, span.end, span.month) == (start, end, 0)


@pytest.mark.parametrize(
    ("question", "nothing_else"),
    [
        ("What did I do in June?", True),
        ("What did we talk about on 1 September 2023?", True),
        ("last month", True),
        ("Give me a summary of our conversations of the past two weeks", False),
        ("a summary of our conversations, last week", True),
        ("what did I say yesterday, and what happened two days ago?", True),
        ("2023-05-01", True),
        ("Was ist im Juni passiert?", True),
        ("昨天", True),
        ("昨天我说了什么？", True),
        ("我们上个月聊了什么", True),
        ("上周发生了什么？", True),
        ("昨天的面条", False),
        ("昨天是谁的生日", False),
        ("ماذا قلت أمس؟", True),
        ("पिछले हफ्ते क्या हुआ?", True),
        ("昨天吃了什么", False),
        ("Who sold the boat in June?", False),
        ("When did I sell it?", False),
        ("what happened?", False),
        ("\u0130\u0130\u0130 in June", False),
        ("", False),
    ],
)
def test_a_question_for_nothing_but_a_time_is_told(question: str, nothing_else: bool) -> None:
    assert analyze_query(question, reference=NOW).only_times is nothing_else


@pytest.mark.parametrize(
    ("question", "month", "number"),
    [
        ("in July", 7, 0),
        ("on July 4th", 7, 4),
        ("on 4 July", 7, 4),
        ("in May", 5, 0),
        ("जून में क्या हुआ?", 6, 0),
        ("मार्च में", 3, 0),
        ("六月", 6, 0),
        ("十一月", 11, 0),
        ("في يونيو", 6, 0),
    ],
)
def test_a_month_without_a_year_recurs(question: str, month: int, number: int) -> None:
    (span,) = analyze_query(question).spans
    assert (span.start, span.end, span.month, span.day) == (0.0, 0.0, month, number)


@pytest.mark.parametrize(
    "question",
    [
        "what may happen",
        "31 February 2023",
        "room 2023-99-99",
        "last week",
        "version 1.2.3",
        "",
        "vor dem Haus",
        "hace mucho tiempo",
        "十五天前",
        "三百年前",
        "二十一月",
        "每月",
    ],
)
def test_no_time_is_made_up(question: str) -> None:
    assert analyze_query(question).spans == ()


def test_days_begin_in_the_zone() -> None:
    zone = ZoneInfo("Asia/Tokyo")
    (span,) = analyze_query("on 12 July 2023", zone=zone).spans
    assert span.start == datetime(2023, 7, 12, tzinfo=zone).timestamp()


@pytest.mark.parametrize("year", [1, 1969, 9999])
def test_a_reference_at_the_edge_of_time(year: int) -> None:
    now = datetime(year, 1, 1, tzinfo=UTC)
    analyze_query("last year, next year, 999 years ago", reference=now)


def test_names_are_struck_out_of_a_question() -> None:
    query = analyze_query("What did Caroline paint?")
    caroline = {term for term, _ in query.terms[0].alternatives}
    assert without_terms(query, caroline) == "What did paint?"
    everything = {term for each in query.terms for term, _ in each.alternatives}
    assert without_terms(query, everything) == "What did Caroline paint?"
    owned = analyze_query("Which is Caroline's painting, not Caroline’s photo?")
    assert without_terms(owned, caroline) == "Which is painting, not photo?"
