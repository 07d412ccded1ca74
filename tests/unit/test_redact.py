"""Placeholders: what is hidden comes back, and nothing else does."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.answers import json_line
from holdfast.core.personal import KINDS, find_personal
from holdfast.core.prompt import SUMMARY_SYSTEM, SYSTEM
from holdfast.core.redact import Lines, Placeholders, apart, hidden
from holdfast.core.rerank import build_prompt
from holdfast.ports.redactor import Passage

ALL = frozenset(KINDS)
BOB = "bob@example.com"
AMY = "amy@example.org"


def spans(text: str) -> tuple[Passage, ...]:
    return find_personal(text, ALL)


def test_equal_values_have_equal_placeholders() -> None:
    names = Placeholders()
    text = f"{BOB} knows {AMY}, and {AMY} knows {BOB}"
    shown = names.hide(text, spans(text))
    assert shown == "<EMAIL_1> knows <EMAIL_2>, and <EMAIL_2> knows <EMAIL_1>"
    assert names.restore(shown) == text


@pytest.mark.parametrize(
    "written", ["<EMAIL_1>", "EMAIL_1", "<email_1>", "\\u003cEMAIL_1\\u003e", "\\u003cEMAIL_1>"]
)
def test_a_model_may_write_them_in_its_way(written: str) -> None:
    names = Placeholders()
    names.hide(BOB, spans(BOB))
    answer = names.restore(f'{{"text": "write to {written}."}}')
    assert json.loads(answer) == {"text": f"write to {BOB}."}


def test_what_was_not_given_out_is_not_put_back() -> None:
    text = f"Is <EMAIL_1> the same as {BOB}? And EMAIL_2?"
    names = Placeholders([text])
    shown = names.hide(text, spans(text))
    assert shown == "Is <EMAIL_1> the same as <EMAIL_3>? And EMAIL_2?"
    assert names.restore(shown) == text
    assert names.restore("<EMAIL_9> XEMAIL_3 EMAIL_33") == "<EMAIL_9> XEMAIL_3 EMAIL_33"


def test_values_are_put_back_as_json_strings_hold_them() -> None:
    key = '-----BEGIN PRIVATE KEY-----\n"x\\y"\n-----END PRIVATE KEY-----'
    names = Placeholders()
    answer = json.dumps({"text": names.hide(key, spans(key))})
    assert answer == '{"text": "<SECRET_1>"}'
    assert json.loads(names.restore(answer)) == {"text": key}


def test_styles() -> None:
    texts = [f"{BOB} and {AMY}", f"again {BOB.upper()}"]
    found = [spans(text) for text in texts]
    assert hidden(texts, found, "kind") == ["<EMAIL> and <EMAIL>", "again <EMAIL>"]
    assert hidden(texts, found, "numbered")[0] == "<EMAIL_1> and <EMAIL_2>"
    first, second = hidden(texts, found, "keyed", b"secret")
    assert first.split()[0] == second.split()[1], "the same in every way it is written"
    assert first.split()[0] != first.split()[2]
    assert hidden(texts, found, "keyed", b"other")[0] != first


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9), st.sampled_from("AB"))))
def test_of_passages_that_overlap_the_longest_stays(raw: list[tuple[int, int, str]]) -> None:
    every = [Passage(start, start + size, kind) for start, size, kind in raw]
    kept = apart(every)
    assert all(a.end <= b.start for a, b in itertools.pairwise(kept))
    for one in every:
        meets = [k for k in kept if k.start < one.end and one.start < k.end]
        assert any(k.end - k.start >= one.end - one.start for k in meets)


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), max_size=4))
def test_lines_are_read_and_written_unchanged(rows: list[dict[str, str]]) -> None:
    prompt = "\n".join([*map(json_line, rows), "no JSON { here", "", '{"a":1}'])
    lines = Lines(prompt)
    assert lines.written(lines.strings) == prompt


def test_a_line_keeps_its_form_whatever_is_hidden_in_it() -> None:
    prompt = build_prompt(f"\n{BOB}", [f'"{AMY}"\u2028', "<|im_start|>"]).user
    lines = Lines(prompt)
    names = Placeholders(lines.strings)
    shown = lines.written([names.hide(text, spans(text)) for text in lines.strings])
    assert BOB not in shown
    assert [json.loads(line) for line in shown.splitlines()] == [
        {"query": "\n<EMAIL_1>"},
        {"passage": 1, "text": '"<EMAIL_2>"\u2028'},
        {"passage": 2, "text": "<|im_start|>"},
    ]


def test_nothing_is_hidden_in_our_own_words() -> None:
    assert spans(SYSTEM) == spans(SUMMARY_SYSTEM) == ()


def test_a_line_that_is_nested_too_deep_is_ordinary_text() -> None:
    prompt = '{"a":' * 100_000
    lines = Lines(prompt)
    assert lines.strings == [prompt]
    assert lines.written(lines.strings) == prompt
