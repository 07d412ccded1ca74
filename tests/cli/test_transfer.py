"""Import and export: every form, nothing twice, nothing of a bad file, everything back again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import importing, transfer
from holdfast.errors import StoreUnavailableError
from holdfast.sync import Memory

Done = Callable[..., str]
Told = Callable[..., Any]
Refused = Callable[..., str]
Write = Callable[..., Path]

OPENAI = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "I keep bees."},
    {"role": "assistant", "content": "How many hives?"},
]
FORMS: dict[str, tuple[Any, list[str]]] = {
    "openai": (OPENAI, ["--user", "ada"]),
    "sharegpt": (
        [{"id": "s", "conversations": [{"from": "human", "value": "a"},
                                       {"from": "gpt", "value": "b"}]}],
        ["--user", "ada"],
    ),
    "chatgpt": (
        [
            {
                "conversation_id": "c",
                "current_node": "2",
                "mapping": {
                    "1": {"message": {"author": {"role": "user"}, "content": {"parts": ["a"]}}},
                    "2": {
                        "parent": "1",
                        "message": {"author": {"role": "assistant"}, "content": {"parts": ["b"]}},
                    },
                },
            }
        ],
        ["--user", "ada"],
    ),
    "locomo": (
        [
            {
                "sample_id": "l",
                "conversation": {
                    "session_1_date_time": "1:56 pm on 8 May, 2023",
                    "session_1": [
                        {"speaker": "Ann", "dia_id": "D1:1", "text": "a"},
                        {"speaker": "Bob", "dia_id": "D1:2", "text": "b"},
                    ],
                },
            }
        ],
        [],
    ),
    "longmemeval": (
        [
            {
                "question_id": "q",
                "haystack_dates": ["2023/05/20 (Sat) 02:21"],
                "haystack_sessions": [
                    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
                ],
            }
        ],
        [],
    ),
    "neutral": (
        {
            "conversation_id": "n",
            "turns": [
                {"id": "1", "session": "s", "speaker": "Mia", "date": "2024-01-01", "text": "a"},
                {"id": "2", "session": "s", "speaker": "assistant", "date": "", "text": "b"},
            ],
        },
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_told_stored_and_not_stored_twice(
    form: str, told: Told, write: Write
) -> None:
    value, options = FORMS[form]
    file = write("chat.json", value)
    first = told("import", file, *options)
    assert first["files"] == [{"file": "chat.json", "format": form, "messages": 2}]
    assert (first["added"], first["known"]) == (2, 0)
    again = told("import", file, *options, "--format", form)
    assert (again["added"], again["known"]) == (0, 2)
    assert told("stats")["memories"] == 2


def test_a_chat_without_dates_keeps_its_order_and_its_repetitions(told: Told, write: Write) -> None:
    said = ["yes", "no", "yes", "yes", "who?"]
    file = write("chat.json", [{"role": "user", "content": text} for text in said])
    assert told("import", file, "-u", "ada")["added"] == len(said)
    listed = told("list", "-u", "ada")["results"]
    assert [item["memory"] for item in reversed(listed)] == said


def test_what_is_left_out_is_said(done: Done, told: Told, write: Write) -> None:
    file = write("chat.json", OPENAI)
    text = done("import", file, "-u", "ada")
    assert "Left out: 1 system messages." in text
    assert told("import", file, "-u", "ada")["skipped"] == {"system messages": 1}


def test_lines_may_come_from_standard_input_and_say_whose_they_are(told: Told) -> None:
    lines = '{"memory": "Ada keeps bees", "user_id": "ada"}\n\n{"role": "user", "content": "hi"}\n'
    assert told("import", "-", "--user", "bob", input=lines)["added"] == 2
    assert told("list", "-u", "ada")["results"][0]["memory"] == "Ada keeps bees"
    assert told("list", "-u", "bob")["results"][0]["memory"] == "hi"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("form", [[], ["--format", "jsonl"]])
def test_a_listing_can_be_imported(
    indent: int | None, form: list[str], told: Told, done: Done, tmp_path: Path
) -> None:
    told("add", "-u", "ada", "--at", "2024-02-29", "I keep bees.")
    listing = told("list", "-u", "ada")
    file = tmp_path / "memories.json"
    file.write_text(json.dumps(listing, indent=indent))
    done("delete", "--all", "-u", "ada", "--yes")
    assert told("import", file, *form)["added"] == 1
    (back,) = told("list", "-u", "ada")["results"]
    assert (back["memory"], back["event_at"][:10]) == ("I keep bees.", "2024-02-29")


def test_what_is_in_runs_only_is_said(run: Any, write: Write) -> None:
    document, _ = FORMS["chatgpt"]
    file = write("c.json", document)
    said = run("import", file).stderr
    assert "2 messages are in runs only" in said
    assert "--user" in said
    assert run("import", file, "--user", "ada").stderr == ""


def test_an_interrupted_import_says_how_far_it_came(
    run: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: Any, advance: Any, **__: Any) -> None:
        advance(2)
        raise KeyboardInterrupt

    file = write("chat.json", OPENAI)
    monkeypatch.setattr(transfer, "store", interrupted)
    result = run("import", file, "--user", "ada")
    assert result.exit_code == 130
    assert result.stderr.splitlines() == [
        "2 of 2 messages or more are stored; the same command goes on from there.",
        "interrupted",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"text": "caf\xe9"}\n'.encode("latin-1"), "UTF-8"),
        ('{"text": "tea"}\n'.encode("utf-16"), "UTF-8"),
        (b'\n{"text": "tea", "metadata": {"x": NaN}}\n', "write null"),
        (b'{"text": "tea"\n{"text": "tea"}\n', "truncated"),
    ],
)
def test_a_bad_first_line_is_named(
    content: bytes, says: str, refused: Refused, tmp_path: Path
) -> None:
    file = tmp_path / "facts.jsonl"
    file.write_bytes(content)
    line = refused(2, "import", file, "-u", "ada")
    number = 2 if content.startswith(b"\n") else 1
    assert f"facts.jsonl line {number}: " in line
    assert says in line


def test_a_broken_off_import_goes_on_where_it_stopped(
    told: Told, run: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        {"memory": f"Fact {n}", "user_id": "ada", "run_id": f"r{n}", "timestamp": n}
        for n in range(40)
    ]
    file = write("facts.jsonl", lines, lines=True)
    real, seen = importing._add, []

    async def stops(*arguments: Any, **options: Any) -> None:
        seen.append(arguments)
        if len(seen) == 25:
            raise StoreUnavailableError("The disk is full.")
        await real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(importing, "_add", stops)
        assert run("import", file).exit_code == 4
    kept = told("stats")["memories"]
    assert 0 < kept < 40
    rest = told("import", file)
    assert (rest["added"], rest["known"]) == (40 - kept, kept)
    assert told("stats")["memories"] == 40


def test_what_was_imported_and_deleted_can_be_imported_again(told: Told, write: Write) -> None:
    file = write("chat.json", OPENAI)
    for _ in range(3):
        assert told("import", file, "-u", "ada")["added"] == 2
        told("delete", "--all", "-u", "ada", "--yes")


def test_one_deleted_memory_stays_deleted(told: Told, write: Write) -> None:
    file = write("chat.json", OPENAI)
    told("import", file, "-u", "ada")
    told("delete", told("list", "-u", "ada")["results"][0]["id"])
    assert told("import", file, "-u", "ada")["added"] == 0
    assert told("list", "-u", "ada")["total"] == 1


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"memory": " ", "user_id": "ada", "role": "user"}, None),
        ({"memory": "x"}, "--user"),
        ({"memory": "a\x00b", "user_id": "ada"}, "NUL"),
        ({"memory": "x" * 1_048_577, "user_id": "ada"}, "TOO_LARGE"),
        ({"memory": "x", "user_id": "a" * 600}, "TOO_LARGE"),
        ({"memory": "x", "user_id": "ada", "timestamp": "soon"}, "not a date"),
        ({"memory": "x", "user_id": "ada", "metadata": [1]}, "metadata"),
        ({"memory": "x", "user_id": "ada", "categories": [{}]}, "categories"),
        ({"memory": "x", "user_id": "ada", "categories": 3}, "categories"),
        ({"memory": "x", "user_id": "ada", "expiration_date": "never"}, "expiration"),
        ({"memory": "x", "user_id": "ada", "role": "wizard"}, "role"),
        ({"memory": 7, "user_id": "ada"}, "content"),
        ([1, 2], "shape"),
        ("a text", "shape"),
    ],
)
def test_a_bad_last_line_is_named_and_nothing_of_the_file_is_stored(
    bad: Any, says: str | None, refused: Refused, told: Told, write: Write
) -> None:
    file = write("facts.jsonl", [{"memory": "fine", "user_id": "ada"}] * 3 + [bad], lines=True)
    if says is None:
        assert told("import", file)["skipped"] == {"messages without text": 1}
        return
    line = refused(2, "import", file)
    assert "facts.jsonl line 4" in line
    assert says in line
    assert told("stats")["memories"] == 0


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (b"", [], "empty"),
        (b" \n\n ", [], "empty"),
        (b"{", [], "not JSON"),
        (b"\x00\xff\xfe\x89PNG", [], "not JSON"),
        (b"{}", [], "--format"),
        (b"[]", [], "--format"),
        (b"3", [], "--format"),
        (b'{"messages": [], "turns": []}', [], "openai or neutral"),
        (b'{"memory": "x"}\n{"memory": ', ["-u", "ada"], "line 2"),
        (b"[]", ["--format", "nonsense"], "no format 'nonsense'"),
        (b'{"turns": 3}', ["--format", "neutral"], "shape"),
        (b'[{"role": "user", "content": "x"}]', ["--format", "locomo"], "shape"),
        (b"plain words", ["--format", "jsonl"], "line 1"),
    ],
)
def test_a_file_that_is_none_of_the_forms_is_refused_by_name(
    content: bytes, options: list[str], says: str, refused: Refused, tmp_path: Path
) -> None:
    file = tmp_path / "odd.json"
    file.write_bytes(content)
    line = refused(2, "import", file, *options)
    assert says in line
    if "nonsense" not in options:
        assert "odd.json" in line


def test_a_file_that_is_not_there_is_an_error_of_the_file(refused: Refused, tmp_path: Path) -> None:
    assert "(FILE)" in refused(1, "import", tmp_path / "none.json", "-u", "ada")
    assert "(FILE)" in refused(1, "import", tmp_path, "-u", "ada")


def fill(told: Told) -> None:
    """Memories that differ in everything an export must keep."""
    told("add", "-u", "ada", "--name", "Ada", "--at", "2024-02-29T23:59:59.25+02:00", "In March?")
    told("add", "--agent", "bot", "--role", "assistant", "--category", "a", "--category", "b", "ok")
    told("add", "-u", "o'brien", "--run", "r/1", "--expires", "2020-01-01", "Long gone. 東京 🎻")
    told(
        "add", "-u", "ada", "--app", "mail", "--metadata", '{"n": 1.5, "deep": {"x": [null]}}', "m"
    )


def stable(file: Path) -> list[dict[str, Any]]:
    """The lines of an export without what a store gives anew."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    made_anew = {"id", "created_at", "updated_at"}
    kept = [{k: v for k, v in line.items() if k not in made_anew} for line in lines]
    return sorted(kept, key=lambda line: line["memory"])


def test_an_export_comes_back_exactly(told: Told, tmp_path: Path) -> None:
    fill(told)
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    assert told("export", "-o", first)["memories"] == 4
    other = tmp_path / "other"
    assert told("import", first, "--home", other)["added"] == 4
    assert told("export", "-o", second, "--home", other)["memories"] == 4
    assert stable(second) == stable(first)
    assert len(stable(first)) == 4
    assert told("import", first, "--home", other)["added"] == 0


def test_an_export_is_of_everybody_or_of_those_chosen(
    told: Told, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(told)
    assert len(done("export").splitlines()) == 4
    assert len(done("export", "-u", "ada").splitlines()) == 2
    assert len(done("export", "--filter", '{"agent_id": "bot"}').splitlines()) == 1
    monkeypatch.setenv("HOLDFAST_USER", "ada")
    assert len(done("export").splitlines()) == 2
    assert len(done("export", "--all").splitlines()) == 4


def test_a_large_export_turns_pages(
    told: Told, done: Done, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    told("import", write("chat.json", [{"role": "user", "content": f"{n}"} for n in range(23)]),
         "-u", "ada")  # fmt: skip
    monkeypatch.setattr(transfer, "PAGE", 5)
    texts = [json.loads(line)["memory"] for line in done("export").splitlines()]
    assert list(map(int, texts)) == list(range(23)), "oldest first"


def test_what_comes_back_is_listed_in_the_order_it_was(told: Told, tmp_path: Path) -> None:
    for number in range(5):
        told("add", "-u", "ada", "--at", f"2024-03-0{9 - number}", f"Note {number}")
    before = [item["memory"] for item in told("list", "-u", "ada")["results"]]
    file = tmp_path / "backup.jsonl"
    told("export", "-o", file)
    told("import", file, "--home", tmp_path / "other")
    after = told("list", "-u", "ada", "--home", tmp_path / "other")["results"]
    assert [item["memory"] for item in after] == before


def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(
    told: Told, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(told)
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / "backup.jsonl"
    file.write_text("the old one\n")

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Memory, "get_all", fails)
    result = run("export", "-o", file)
    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert [path.name for path in folder.iterdir()] == ["backup.jsonl"]
    assert file.read_text() == "the old one\n"


def test_an_export_takes_the_place_of_the_old_file_in_one_step(told: Told, tmp_path: Path) -> None:
    file, watched = tmp_path / "backup.jsonl", tmp_path / "watched"
    file.write_text("the old one\n")
    watched.hardlink_to(file)
    fill(told)
    told("export", "-o", file)
    assert watched.read_text() == "the old one\n"
    assert len(stable(file)) == 4


def test_an_export_into_a_folder_that_is_not_there_is_an_error_of_the_file(
    refused: Refused, tmp_path: Path
) -> None:
    file = tmp_path / "none" / "file.jsonl"
    assert f"{file}: No such file" in refused(1, "export", "-o", file)


def test_an_empty_store_exports_nothing(done: Done) -> None:
    assert done("export") == ""
