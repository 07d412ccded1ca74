"""Tests of the load generator and of what is asked of the servers: `python -m pytest bench`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from serverside import calls, load, measures
from serverside.servers import ask, language_model, serving, write_calls
from sidebyside.measures import Results
from sidebyside.processes import ContenderError


def _searches(count: int) -> list[calls.Call]:
    return [calls.search("bare", "ann", f"tea {number}") for number in range(count)]


def test_every_call_is_answered_and_timed(tmp_path: Path) -> None:
    file = write_calls(tmp_path / "calls.jsonl", _searches(200))
    with serving("bare", tmp_path / "bare") as server:
        happened = ask(server, file, 8, 20.0, rss_every=50)
    assert len(happened["ns"]["search"]) == 200
    assert min(happened["ns"]["search"]) > 0
    assert not happened["errors"]
    assert len(happened["rss"]) == 4


def test_an_open_loop_keeps_its_rate(tmp_path: Path) -> None:
    file = write_calls(tmp_path / "calls.jsonl", _searches(10_000))
    with serving("bare", tmp_path / "bare") as server:
        happened = [ask(server, file, 8, 1.0, rate=100.0) for _ in range(2)]
    first, second = (len(each["ns"]["search"]) for each in happened)
    assert 80 <= first <= 120
    assert first == second  # at random, but the same in every run


async def test_what_a_slow_answer_keeps_waiting_counts(tmp_path: Path) -> None:
    answer, pause_s, count = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 0.05, 8

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(count):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(pause_s)
            writer.write(answer)
        writer.close()

    calls_file = write_calls(
        tmp_path / "calls.jsonl",
        [{"kind": "get", "method": "GET", "path": "/", "body": None}] * count,
    )
    async with await asyncio.start_server(slowly, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        plan = {"port": port, "calls": str(calls_file), "clients": 1, "seconds_max": 5.0}
        asking = load.Load({**plan, "rate": 1_000.0})
        await asking.run()
    taken = asking.happened.ns["get"]
    assert len(taken) == count
    assert taken == sorted(taken)  # each waited for those before it
    assert taken[-1] > (count - 1) * pause_s * 1e9


def test_what_is_refused_does_not_count(tmp_path: Path) -> None:
    file = write_calls(tmp_path / "calls.jsonl", _searches(10))
    with serving("bare", tmp_path / "bare") as server:
        pass
    with pytest.raises(ContenderError):
        ask(server, file, 2, 1.0)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(ContenderError, match="did not start"),
        serving("holdfast", tmp_path / "h", "ftp://nowhere"),
    ):
        pass


def test_the_language_model_tells_where_it_is() -> None:
    with language_model(0.0, 0.5) as url:
        assert url.startswith("http://127.0.0.1:")


def test_churn_forgets_what_it_added() -> None:
    asked = [("user-1", f"q{n}") for n in range(32)]
    made = calls.churn(asked, asked, users=4)
    added = {each["body"]["user_id"] for each in made if each["kind"] == "add"}
    forgotten = {each["path"].rpartition("=")[2] for each in made if each["kind"] == "delete"}
    assert added == forgotten
    assert made[-1]["kind"] == "delete"


def test_every_target_belongs_to_a_measure() -> None:
    results = Results(measures.SPECS, measures.TARGETS)
    for target in measures.TARGETS:
        results.record(target.key, "holdfast", 1.0, 1)
        results.record(target.key, "mem0", 1.0, 1)
    assert all(results.verdicts(target.key) for target in measures.TARGETS)
