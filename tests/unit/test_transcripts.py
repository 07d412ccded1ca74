"""Chat exports become records: every form, the order of turns, what is left out, bad shapes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.core import transcripts
from holdfast.core.chat_files import detect_file, items
from holdfast.core.decoding import decode
from holdfast.core.moment import moment
from holdfast.core.transcripts import Record, Skip, detect, detect_line, records
from holdfast.errors import ValidationError
from holdfast.model import Scope

OPENAI = [
    {"role": "system", "content": "You are kind."},
    {"role": "user", "content": "I keep bees.", "name": "ada"},
    {
        "role": "assistant",
        "content": [{"type": "text", "text": "How many?"}, {"type": "image_url", "image_url": {}}],
    },
    {"role": "assistant", "content": None, "tool_calls": []},
    {"role": "tool", "content": "{}"},
]
SHAREGPT = {
    "id": "s1",
    "conversations": [
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello"},
        {"from": "system", "value": "be brief"},
    ],
}
LOCOMO = {
    "sample_id": "conv-1",
    "qa": [],
    "conversation": {
        "speaker_a": "Ann",
        "speaker_b": "Bob",
        "session_10_date_time": "9:05 am on 2 March, 2024",
        "session_10": [{"speaker": "Bob", "dia_id": "D10:1", "text": "Later."}],
        "session_2_date_time": "1:56 pm on 8 May, 2023",
        "session_2": [
            {"speaker": "Ann", "dia_id": "D2:1", "text": "Look!", "blip_caption": "a red kite"},
            {"speaker": "Bob", "dia_id": "D2:2", "text": "Nice."},
        ],
    },
}
LONGMEMEVAL = {
    "question_id": "q7",
    "haystack_session_ids": ["same", "same"],
    "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 10:00"],
    "haystack_sessions": [
        [{"role": "user", "content": "I moved to Lyon.", "has_answer": True}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    ],
}
NEUTRAL = {
    "conversation_id": "n1",
    "turns": [
        {"id": 1, "session": "a", "speaker": "Mia", "date": "2024-03-15T00:00", "text": "One"},
        {"id": 2, "session": "a", "speaker": "Mia", "date": "2024-03-15T00:00", "text": "Two"},
        {"id": 3, "session": "", "speaker": "assistant", "date": "", "text": "Three"},
        {"id": 4, "session": "b", "speaker": "user", "date": "2024-03-16T08:00Z", "text": "Four"},
    ],
}
CHATGPT = {
    "conversation_id": "c1",
    "current_node": "leaf",
    "mapping": {
        "root": {"message": None, "parent": None, "children": ["ask"]},
        "ask": {
            "message": {
                "author": {"role": "user"},
                "create_time": 1700000000.5,
                "content": {"content_type": "text", "parts": ["Plan a trip"]},
            },
            "parent": "root",
            "children": ["first", "leaf"],
        },
        "first": {
            "message": {"author": {"role": "assistant"}, "content": {"parts": ["discarded"]}},
            "parent": "ask",
            "children": [],
        },
        "leaf": {
            "message": {
                "author": {"role": "assistant"},
                "content": {
                    "content_type": "multimodal_text",
                    "parts": [{"asset_pointer": "x"}, "To Rome"],
                },
            },
            "parent": "ask",
            "children": [],
        },
    },
}

FORMS: dict[str, Any] = {
    "openai": OPENAI,
    "sharegpt": SHAREGPT,
    "locomo": LOCOMO,
    "longmemeval": LONGMEMEVAL,
    "neutral": NEUTRAL,
    "chatgpt": CHATGPT,
}


def read(form: str, value: Any) -> tuple[list[Record], list[str]]:
    parsed = list(records(value, form))  # type: ignore[arg-type]
    return (
        [part for part in parsed if isinstance(part, Record)],
        [part.reason for part in parsed if isinstance(part, Skip)],
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_told_by_its_content_alone_and_in_a_list(form: str) -> None:
    assert detect(FORMS[form]) == form
    assert detect([FORMS[form]]) == form


@pytest.mark.parametrize("value", [None, 3, "text", [], {}, [[]], {"a": 1}, [{"mem": "x"}]])
def test_an_unknown_form_is_an_error_that_names_the_option(value: Any) -> None:
    with pytest.raises(ValidationError, match="--format"):
        detect(value)


def test_a_file_that_could_be_two_forms_is_an_error_that_names_both() -> None:
    with pytest.raises(ValidationError, match="openai or neutral"):
        detect({"messages": [], "turns": []})


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ({"memory": "x"}, "jsonl"),
        ({"text": "x"}, "jsonl"),
        ({"role": "user", "content": "x"}, "jsonl"),
        ({"messages": []}, "openai"),
        ({"conversations": []}, "sharegpt"),
    ],
)
def test_lines_hold_memories_or_whole_conversations(line: Any, form: str) -> None:
    assert detect_line(line) == form


def test_openai_messages_keep_names_and_count_what_is_left_out() -> None:
    kept, skipped = read("openai", OPENAI)
    assert kept == [
        Record(text="I keep bees.", role="user", name="ada"),
        Record(text="How many?", role="assistant"),
    ]
    assert skipped == [
        "system messages",
        "pictures and attachments",
        "messages without text",
        "tool messages",
    ]


def test_an_openai_conversation_with_an_id_is_a_run() -> None:
    kept, _ = read("openai", {"id": "run-9", "messages": OPENAI[1:2]})
    assert kept[0].scope == Scope(run_id="run-9")


def test_chatgpt_follows_the_branch_the_user_sees() -> None:
    kept, skipped = read("chatgpt", CHATGPT)
    assert [(r.text, r.role, r.at) for r in kept] == [
        ("Plan a trip", "user", 1700000000.5),
        ("To Rome", "assistant", None),
    ]
    assert kept[0].scope == Scope(run_id="c1")
    assert skipped == ["pictures and attachments"]


def test_chatgpt_leaves_out_what_the_assistant_says_to_tools_and_marks_of_links() -> None:
    def node(parent: str | None, role: str, text: str, to: str) -> dict[str, Any]:
        message = {"author": {"role": role}, "recipient": to, "content": {"parts": [text]}}
        return {"parent": parent, "message": message}

    mapping = {
        "1": node(None, "user", "Are there ramps?", "all"),
        "2": node("1", "assistant", 'search("ramps")', "browser"),
        "3": node("2", "assistant", "Yes\ue200cite\ue202turn0search1\ue201, two.", "all"),
    }
    mapping["4"] = {
        "parent": "3",
        "message": {
            "author": {"role": "assistant"},
            "recipient": "python",
            "content": {"content_type": "code", "text": "1 + 1"},
        },
    }
    kept, skipped = read("chatgpt", {"mapping": mapping, "current_node": "4"})
    assert [r.text for r in kept] == ["Are there ramps?", "Yes, two."]
    assert skipped == ["tool messages"] * 2


def test_chatgpt_without_a_current_node_ends_at_the_last_leaf() -> None:
    kept, _ = read("chatgpt", {**CHATGPT, "current_node": None})
    assert [r.text for r in kept] == ["Plan a trip", "To Rome"]


def test_a_chatgpt_tree_that_runs_in_a_circle_is_an_error() -> None:
    ring = {"a": {"parent": "b"}, "b": {"parent": "a"}}
    with pytest.raises(ValidationError, match="circle"):
        read("chatgpt", {"mapping": ring, "current_node": "a"})


def test_sharegpt_roles() -> None:
    kept, skipped = read("sharegpt", SHAREGPT)
    assert [(r.role, r.text) for r in kept] == [("user", "Hi"), ("assistant", "Hello")]
    assert skipped == ["system messages"]
    assert kept[0].scope == Scope(run_id="s1")


def test_sharegpt_may_have_the_keys_of_openai() -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    kept, _ = read("sharegpt", {"id": "s2", "conversations": said})
    assert [(r.role, r.text) for r in kept] == [("user", "Hi"), ("assistant", "Hello")]


def test_locomo_sessions_are_in_number_order_with_captions_and_times_apart() -> None:
    kept, _ = read("locomo", LOCOMO)
    assert [r.turn_id for r in kept] == ["D2:1", "D2:2", "D10:1"]
    assert kept[0].text == "Look! [shares a red kite]"
    assert kept[0].name == "Ann"
    assert kept[0].scope == Scope(user_id="conv-1", run_id="conv-1/session_2")
    start = moment("2023-05-08T13:56:00Z")
    assert start is not None
    assert [r.at for r in kept[:2]] == [start, start + transcripts.TURN_STEP_S]


def test_longmemeval_turn_names_are_distinct_though_session_ids_repeat() -> None:
    kept, _ = read("longmemeval", LONGMEMEVAL)
    assert [r.turn_id for r in kept] == ["1:1", "2:1", "2:2"]
    assert {r.scope.user_id for r in kept} == {"q7"}
    assert kept[0].at == moment("2023-05-20T02:21:00Z")


def test_neutral_spreads_equal_times_and_leaves_others() -> None:
    kept, _ = read("neutral", NEUTRAL)
    day = moment("2024-03-15")
    assert day is not None
    assert [r.at for r in kept] == [day, day + 1, None, moment("2024-03-16T08:00Z")]
    assert [(r.role, r.name) for r in kept] == [
        ("user", "Mia"),
        ("user", "Mia"),
        ("assistant", None),
        ("user", None),
    ]
    assert [r.scope.run_id for r in kept] == ["n1/a", "n1/a", None, "n1/b"]


def test_a_memory_line_keeps_everything_and_reports_keys_it_does_not_know() -> None:
    line = {
        "id": "0190",
        "memory": "Ada keeps bees",
        "role": "assistant",
        "actor_id": "ada",
        "user_id": "ada",
        "run_id": 7,
        "event_at": "2024-01-02T03:04:05+01:00",
        "created_at": "2025-01-01T00:00:00Z",
        "metadata": {"source": "chat"},
        "categories": ["hobby"],
        "expiration_date": "2030-01-01",
        "usr_id": "oops",
    }
    kept, skipped = read("jsonl", line)
    assert kept == [
        Record(
            text="Ada keeps bees",
            role="assistant",
            name="ada",
            at=moment("2024-01-02T02:04:05Z"),
            scope=Scope(user_id="ada", run_id="7"),
            metadata={"source": "chat"},
            categories=("hobby",),
            expires_on="2030-01-01",
        )
    ]
    assert skipped == ["unknown key 'usr_id' (did you mean 'user_id'?)"]


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("openai", [{"content": "no role"}]),
        ("openai", [{"role": "wizard", "content": "x"}]),
        ("openai", [{"role": "user", "content": 7}]),
        ("openai", ["not a message"]),
        ("sharegpt", {"conversations": [{"value": "x"}]}),
        ("chatgpt", {"mapping": {"a": {"message": {"content": {}}}}, "current_node": "a"}),
        ("locomo", {"conversation": {"session_1": [{"text": "x"}]}}),
        ("longmemeval", {"question_id": 1}),
        ("longmemeval", {**LONGMEMEVAL, "haystack_dates": ["2023/05/20 (Sat) 02:21"]}),
        ("neutral", {"turns": [{"id": 1}]}),
        ("neutral", {"turns": [{"id": 1, "text": "x", "date": "soon"}]}),
        ("jsonl", {"user_id": "ada"}),
        ("jsonl", {"memory": "x", "timestamp": "yesterday"}),
        ("jsonl", [1]),
    ],
)
def test_a_wrong_shape_is_a_validation_error(form: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        read(form, value)


def test_items_of_a_file_are_conversations() -> None:
    assert list(items(json.dumps(OPENAI).encode(), "openai")) == [OPENAI]
    several = [{"messages": OPENAI}, {"messages": []}]
    assert list(items(json.dumps(several).encode(), "openai")) == several
    assert list(items(json.dumps([OPENAI, OPENAI]).encode(), "openai")) == [OPENAI, OPENAI]
    assert list(items(json.dumps(NEUTRAL).encode(), "neutral")) == [NEUTRAL]
    assert list(items(b" [] ", "neutral")) == []


LISTING = {"results": [{"id": "1", "memory": "Likes tea", "role": "user"}], "total": 1}


@pytest.mark.parametrize(
    ("value", "form", "held"),
    [
        (LISTING, "jsonl", LISTING["results"]),
        (LISTING["results"], "jsonl", LISTING["results"]),
        ({"results": []}, None, []),
    ],
)
def test_a_listing_of_memories_is_read_as_lines_are(value: Any, form: Any, held: Any) -> None:
    for written in (json.dumps(value), json.dumps(value, indent=2)):
        data = written.encode()
        assert list(items(data, "jsonl")) == held
        if form is not None:
            assert detect_file(data) == form


def test_conversations_may_stand_one_a_line() -> None:
    line = json.dumps(NEUTRAL).encode()
    data = b"\n" + line + b"\r\n \n" + line
    assert detect_file(data) == "neutral"
    assert list(items(data, "neutral")) == [NEUTRAL, NEUTRAL]
    with pytest.raises(ValidationError, match="line 5: this is not JSON"):
        list(items(data + b"\n{", "neutral"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ('{"a": "caf\xe9"}'.encode("latin-1"), "UTF-8"),
        ('{"a": "caf\xe9"}'.encode("utf-16"), "UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": [1, -Infinity]}', "Infinity"),
    ],
)
def test_what_other_programs_write_in_place_of_json_is_told(data: bytes, says: str) -> None:
    with pytest.raises(ValidationError, match="not JSON") as caught:
        list(items(data, "jsonl"))
    assert says in f"{caught.value.message} {caught.value.hint}"


def test_milliseconds_are_told_from_seconds() -> None:
    with pytest.raises(ValidationError, match="not a date") as caught:
        moment(1_700_000_000_000)
    assert "milliseconds" in caught.value.hint


def test_a_byte_order_mark_is_not_part_of_the_text() -> None:
    assert list(items(b"\xef\xbb\xbf" + json.dumps(OPENAI).encode(), "openai")) == [OPENAI]


@pytest.mark.parametrize("data", [b"", b"{", b"[1,", b"\xff\xfe", b"[{} {}]", b"PK\x03\x04"])
def test_what_is_not_json_is_an_error(data: bytes) -> None:
    with pytest.raises(ValidationError, match="not JSON"):
        list(items(data, "neutral"))


def test_half_of_a_surrogate_pair_in_a_json_escape_is_replaced_not_fatal() -> None:
    assert decode(rb'{"text": "cut \ud83d here"}') == {"text": "cut \N{REPLACEMENT CHARACTER} here"}


@pytest.mark.parametrize(
    ("written", "iso"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1700000000.25, "2023-11-14T22:13:20.250000Z"),
        ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z"),
        ("2023-11-14", "2023-11-14T00:00:00Z"),
        ("12:05 am on 1 January, 2024", "2024-01-01T00:05:00Z"),
        ("2023/05/30 (Tue) 23:40", "2023-05-30T23:40:00Z"),
        ("2023/05/30", "2023-05-30T00:00:00Z"),
    ],
)
def test_dates_of_exports(written: Any, iso: str) -> None:
    assert moment(written) == moment(iso)


@pytest.mark.parametrize("value", ["soon", "2024-13-01", True, [], {}, 1e20, float("nan"), "\x00"])
def test_what_is_no_date_is_an_error(value: Any) -> None:
    with pytest.raises(ValidationError, match="not a date"):
        moment(value)


@pytest.mark.parametrize("value", [None, ""])
def test_no_date_is_none(value: Any) -> None:
    assert moment(value) is None
