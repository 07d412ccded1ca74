"""Bad input on the command line: one line, the code of its kind, no traceback, nothing changed but
the audit, which tells of it.

The commonest mistakes are in `test_memories.py`; here are the stranger ones, on a store that
holds something.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import command
from holdfast.backends.schema.audit import audit
from holdfast.limits import QUERY_CHARS_MAX, TEXT_CHARS_MAX
from support.refusals import GOOD_IDS, SECRET, audit_rows, rows

Told = Callable[..., Any]
Refused = Callable[..., str]

ID, EVENT = "<memory>", "<event>"
"""Stand for what the store holds."""
OUTCOME, COUNT = map(list(audit.columns.keys()).index, ("outcome", "count"))


@pytest.fixture
def held(told: Told) -> dict[str, str]:
    """Ids of the memory that ada's store holds, and of the event that made it."""
    answer = told("add", "-u", "ada", "I keep bees.", "--key", "k1")
    return {ID: answer["results"][0]["id"], EVENT: answer["event_id"]}


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def add(*more: str) -> list[str]:
    return ["add", "-u", "ada", "hello", *more]


def search(*more: str) -> list[str]:
    return ["search", "-u", "ada", "hello", *more]


@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        (2, add("--key", ""), "idempotency_key"),
        (2, add("--key", SECRET * 640), "TOO_LARGE"),
        (1, add("--key", "k1"), "CONFLICT"),
        (2, add("--name", " "), "name"),
        (2, add("--name", SECRET * 640), "TOO_LARGE"),
        (2, add("--category", ""), "categories"),
        (2, add("--category", "*"), "categories"),
        (2, ["add", "-u", "*", "hello"], "user_id"),
        (2, ["add", "-u", "ada", "--run", SECRET + "\ud83d", "hello"], "surrogate"),
        (2, add("--at", ""), "timestamp"),
        (2, add("--at", "nan"), "timestamp"),
        (2, add("--at", f"{SECRET} o'clock"), "timestamp"),
        (2, add("--expires", "2026-02-30"), "expiration_date"),
        (2, add("--metadata", ""), "--metadata is not JSON"),
        (2, add("--metadata", '{"a": NaN}'), "not a finite number"),
        (2, add("--metadata", '{"a": -1e999}'), "not a finite number"),
        (2, add("--metadata", '{"a": ' + "9" * 5_000 + "}"), "--metadata is not JSON"),
        (2, add("--metadata", '{"a": 99999999999999999999}'), "64 bits"),
        (2, add("--metadata", '{"a": "' + SECRET + '\\ud800"}'), "surrogate"),
        (2, add("--metadata", '{"' + SECRET + '\\u0000": 1}'), "NUL"),
        (2, add("--metadata", '{"a": "' + SECRET * 5_000 + '"}'), "TOO_LARGE"),
        (2, add("--metadata", nested(17)), "nested deeper"),
        (2, add("--metadata", nested(100_000)), "nested too deeply"),
        (2, search("--filter", nested(5_000)), "nested too deeply"),
        (2, search("--filter", '{"AND": [' * 300 + "{}" + "]}" * 300), "FILTER"),
        (2, search("--filter", '{"AND": [' * 30_000), "nested too deeply"),
        (2, search("--filter", "null"), "JSON object"),
        (2, search("--filter", '{"x": NaN}'), "FILTER"),
        (2, search("--filter", '{"x": {"$where": "' + SECRET + '"}}'), "FILTER"),
        (2, search("--filter", '{"created_at": {"gt": "' + SECRET + '"}}'), "FILTER"),
        (2, search("--threshold", "-0.5"), "threshold"),
        (2, search("--threshold", "inf"), "threshold"),
        (2, search("-k", "99999999999999999999"), "top_k"),
        (2, search("--reference-date", SECRET), "reference_date"),
        (2, ["search", "-u", "ada", SECRET + "x" * QUERY_CHARS_MAX], "TOO_LARGE"),
        (2, ["search", "-u", "ada", "half \udcff"], "surrogate"),
        (2, ["list"], "--user"),
        (2, ["list", "-u", "ada", "--cursor", ""], "cursor"),
        (2, ["list", "-u", "ada", "--cursor", "x" * 100_000], "cursor"),
        (2, ["list", "-u", "ada", "-n", "-1"], "--limit"),
        (2, ["get", ""], "memory_id"),
        (2, ["get", "*"], "memory_id"),
        (2, ["get", SECRET * 640], "TOO_LARGE"),
        (3, ["get", "no\nsuch \x1b[2J"], "NOT_FOUND"),
        (2, ["history", " "], "memory_id"),
        (2, ["update", "", "new"], "memory_id"),
        (2, ["update", ID, ""], "text is empty"),
        (2, ["update", ID, SECRET + "x" * TEXT_CHARS_MAX], "TOO_LARGE"),
        (2, ["update", ID, "--metadata", '{"a": NaN}'], "not a finite number"),
        (2, ["update", ID, "--expires", "soon"], "expiration_date"),
        (2, ["update", ID, "--at", "soon"], "timestamp"),
        (2, ["delete", ""], "memory_id"),
        (3, ["delete", "no-such", ID], "NOT_FOUND"),
        (2, ["delete", "--all", "-u", "", "--yes"], "user_id"),
        (2, ["delete", "--all", "-u", "*", "--yes"], "user_id"),
        (2, ["delete", "--all", "--yes"], "--user"),
        (2, ["events", ""], "event_id"),
        (2, ["events", SECRET * 640], "TOO_LARGE"),
        (3, ["events", "no-such", "--wait"], "NOT_FOUND"),
        (2, ["export", "--filter", "{"], "--filter is not JSON"),
    ],
    ids=lambda value: " ".join(value)[:40].encode("ascii", "replace").decode()
    if isinstance(value, list) else str(value)[:20],
)  # fmt: skip
def test_a_refusal_is_one_line_and_changes_nothing(
    code: int, words: list[str], says: str, held: dict[str, str], refused: Refused, home: Path
) -> None:
    before, told = rows(home), audit_rows(home)
    line = refused(code, *(held.get(word, word) for word in words))
    assert says in line
    assert SECRET not in line
    assert line.isprintable()
    assert len(line) < 1_000
    assert rows(home) == before
    tells = audit_rows(home)
    assert tells[: len(told)] == told
    new = {(row[OUTCOME], row[COUNT]) for row in tells[len(told) :]}
    assert new <= {("failed", None), ("failed", 0), ("ok", 0)}, "tells of what was not done"
    assert SECRET not in str(tells)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"memory": ' + b"[" * 5_000 + b"1" + b"]" * 5_000 + b"}\n", id="deep-line"),
        pytest.param(
            b'{"memory": "x", "metadata": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001 + b"\n",
            id="deep-metadata",
        ),
        pytest.param(bytes(range(256)) * 100, id="binary"),
        pytest.param(b"\x00" * 10_000, id="zeros"),
        pytest.param(b"\xff\xfe" + "[]".encode("utf-16-le"), id="utf-16"),
        pytest.param(b'{"memory": "a\\u0000b"}\n', id="nul"),
        pytest.param(b'{"memory": "x", "timestamp": NaN}\n', id="nan"),
        pytest.param(b'{"memory": "x", "timestamp": 1e400}\n', id="endless-number"),
        pytest.param(b'{"memory": "x", "timestamp": "someday"}\n', id="no-date"),
        pytest.param(b'{"memory": "' + b"x" * (TEXT_CHARS_MAX + 1) + b'"}\n', id="too-long"),
        pytest.param(b'{"memory": {"text": 5}}\n', id="wrong-shape"),
        pytest.param(b'{"memory": "x", "user_id": ["ada"]}\n', id="wrong-id"),
        pytest.param(b'{"memory": "x", "name": {"first": "ada"}}\n', id="wrong-name"),
        pytest.param(b'{"memory": "x", "categories": "food"}\n', id="wrong-categories"),
        pytest.param(b'{"memory": "x", "categories": [["food"]]}\n', id="nested-categories"),
        pytest.param(b'{"memory": "x", "metadata": ["food"]}\n', id="wrong-metadata"),
        pytest.param(b'{"memory": "x", "role": ["user"]}\n', id="wrong-role"),
        pytest.param(b'{"memory": "x", "expiration_date": "soon"}\n', id="no-last-day"),
        pytest.param(b" \n\n", id="whitespace"),
    ],
)
def test_a_file_that_cannot_be_read_changes_nothing(
    content: bytes, held: dict[str, str], refused: Refused, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(content)
    before = rows(home)
    for verb in ("import", "eval"):
        line = refused(2, verb, file, *(["-u", "ada"] if verb == "import" else []))
        assert line.isprintable()
        assert len(line) < 1_000
        assert rows(home) == before
    assert held


@pytest.mark.parametrize("user", GOOD_IDS, ids=ascii)
def test_ids_of_any_text_find_their_own_exactly(user: str, told: Told) -> None:
    told("add", "-u", "other", "I keep bees.")
    added = told("add", f"--user={user}", "I keep ants.")
    found = told("search", f"--user={user}", "What do I keep?")["results"]
    assert [(one["id"], one["user_id"]) for one in found] == [(added["results"][0]["id"], user)]
    assert told("delete", "--all", f"--user={user}", "--yes")["count"] == 1
    assert told("stats")["memories"] == 1


def test_a_text_at_the_limit_goes_in_and_comes_out(told: Told) -> None:
    text = ("语言 " * (TEXT_CHARS_MAX // 3))[: TEXT_CHARS_MAX - 1] + "x"
    assert told("add", "-u", "ada", input=text)["results"][0]["memory"] == text
    assert told("list", "-u", "ada")["results"][0]["memory"] == text


@pytest.mark.parametrize(
    "words",
    [
        [b"add", b"-u", b"ada", b"\xff\xfe binary"],
        [b"add", b"-u", b"\xff", b"hello"],
        [b"search", b"-u", b"ada", b"\xff"],
        [b"add", b"-u", b"ada", b"hello", b"--metadata", b'{"a": ' + b"[" * 50_000],
    ],
)
def test_bytes_that_are_no_text_leave_no_traceback_in_a_process(words: list[bytes]) -> None:
    arguments = [*(word.encode() for word in command()), *words]
    result = subprocess.run(
        arguments, capture_output=True, timeout=60, check=False, env=dict(os.environ)
    )
    assert result.returncode == 2
    assert result.stdout == b""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(b"error: ")
