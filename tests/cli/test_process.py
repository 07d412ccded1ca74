"""The command as a process: codes, pipes, signals, colours, bad surroundings, and what it loads."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Start, command

FACTS = 2_000
LIGHT = "import sys; sys.argv = ['holdfast', {!r}]\nfrom holdfast.cli.main import main\n"


def add(start: Start, text: str, **options: Any) -> None:
    assert start("add", "-u", "ada", text, **options).returncode == 0


def last_line(result: subprocess.CompletedProcess[bytes]) -> str:
    """The only line on standard error."""
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in lines[0]
    return lines[0]


def test_version_and_help(run: Any, start: Start) -> None:
    assert start("--version").stdout.startswith(b"holdfast ")
    help_text = start("--help").stdout.decode()
    commands = "add search list get update delete history import export eval demo stats doctor"
    for name in (*commands.split(), "config", "events"):
        assert f" {name} " in help_text
        assert run(name, "--help").exit_code == 0


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(option: str, start: Start) -> None:
    heavy = ("numpy", "sqlalchemy", "pydantic_ai", "wordllama", "tokenizers", "matplotlib", "rich")
    allowed = ("rich",) if option == "--help" else ()
    report = (
        f"{LIGHT.format(option)}"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [command()[0], "-c", report], capture_output=True, timeout=60, check=True
    )
    assert result.stderr.decode().strip() in (str(list(allowed)), "[]")


@pytest.mark.parametrize(
    ("words", "says", "place"),
    [
        (["nonsense"], "'nonsense'", ""),
        (["serach"], "'search'", ""),
        (["--nonsense"], "--nonsense", ""),
        (["--version=3"], "--version", ""),
        (["search", "--nonsense", "--debug"], "--nonsense", " search"),
        (["search", "-u"], "-u", " search"),
        (["search", "x", "--json=3"], "--json", " search"),
        (["search", "-k", "1.5"], "'-k': Input should be a valid integer", " search"),
        (["search", "-k", "\n"], "'-k': Input should be a valid integer", " search"),
        (["add", "x", "--\udcff\n"], "--", " add"),
        (["get"], "'ID'", " get"),
        (["get", "a", "b"], "b", " get"),
        (["import"], "'FILE'", " import"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(
    words: list[str], says: str, place: str, start: Start
) -> None:
    result = start(*words)
    assert result.returncode == 2
    assert result.stdout == b""
    line = last_line(result)
    hint = rf"`.*holdfast{place} --help` tells what it takes\."
    assert re.fullmatch(rf"error: .+[.?] \(USAGE\) {hint}", line)
    assert says in line


def test_no_words_at_all_show_the_help(start: Start) -> None:
    result = start()
    shown = result.stdout + result.stderr
    assert result.returncode == 2
    assert b"USAGE" not in shown
    assert start("--help").stdout.strip() == shown.strip()


def test_an_error_is_one_line_with_its_code(start: Start) -> None:
    result = start("get", "no-such")
    assert result.returncode == 3
    assert last_line(result).startswith("error: ")
    assert "(NOT_FOUND)" in last_line(result)
    assert b"Traceback" in start("get", "no-such", "--debug").stderr


def test_a_reader_that_goes_away_is_no_trouble(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "many.jsonl"
    lines = (json.dumps({"memory": f"{n} " + "word " * 200, "user_id": "ada"}) for n in range(400))
    file.write_text("\n".join(lines))
    assert start("import", file).returncode == 0
    # With buffering, as users have it: what is left in the buffer must not be complained about.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for words in (["export"], ["list", "-u", "ada", "-n", "400"], ["stats"]):
        with subprocess.Popen(
            command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.wait(30) == 141, words
            assert process.stderr.read() == b""


def test_ctrl_c_ends_an_import_cleanly_and_it_can_go_on(
    start: Start, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "many.jsonl"
    lines = (
        json.dumps({"memory": f"Fact {n}", "user_id": "ada", "run_id": f"{n}", "timestamp": n})
        for n in range(FACTS)
    )
    file.write_text("\n".join(lines))
    with subprocess.Popen(
        command("import", file), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        wait_for_memories(home / "holdfast.db", FACTS // 20)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert process.returncode == 130
    came, end = said.decode().splitlines()
    assert re.fullmatch(
        r"[\d,]+ of 2,000 messages or more are stored; the same .* from there\.", came
    )
    assert end == "interrupted"
    assert out == b""
    rest = json.loads(start("import", file, "--json").stdout)
    assert rest["added"] > 0
    assert rest["known"] >= FACTS // 20
    assert rest["added"] + rest["known"] == FACTS
    assert json.loads(start("stats", "--json").stdout)["memories"] == FACTS


def wait_for_memories(database: Path, count: int) -> None:
    """Returns when another process has stored so many."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.005)
        if database.exists() and _memories(database) >= count:
            return
    raise AssertionError("the import does not get on")


def _memories(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            (count,) = connection.execute("SELECT count(*) FROM memories").fetchone()
        except sqlite3.OperationalError:  # it is still being made
            return 0
    return int(count)


def on_a_terminal(words: list[str], environment: dict[str, str]) -> str:
    """What the command prints where standard output is a terminal."""
    parent, child = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment}
    with subprocess.Popen(command(*words), stdout=child, stderr=child, env=env) as process:
        os.close(child)
        said = b""
        while chunk := _read(parent):
            said += chunk
        process.wait(60)
    os.close(parent)
    return said.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side is closed
        return b""


def test_ctrl_c_while_the_command_line_loads_ends_it_as_later() -> None:
    code = (
        "import sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'holdfast.cli.main':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "from holdfast.__main__ import run\n"
        "run()\n"
    )
    result = subprocess.run(
        [command()[0], "-c", code], capture_output=True, timeout=60, check=False
    )
    assert result.returncode == 130
    assert result.stderr == b"interrupted\n"


def test_colours_are_for_terminals_that_want_them(start: Start) -> None:
    add(start, "I keep bees.")
    words = ["search", "-u", "ada", "bees"]
    assert b"\x1b[" not in start(*words).stdout
    assert "\x1b[" in on_a_terminal(words, {})
    assert "\x1b[3" not in on_a_terminal(words, {"NO_COLOR": "1"})
    assert "\x1b[3" not in on_a_terminal([*words, "--no-color"], {})


def test_progress_is_drawn_on_a_terminal_only(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text(json.dumps([{"role": "user", "content": str(n)} for n in range(300)]))
    drawn = on_a_terminal(["import", str(file), "-u", "ada"], {})
    assert "importing" in drawn
    assert "300/300" in drawn
    assert start("import", file, "-u", "bob").stderr == b""


@pytest.fixture
def damaged(home: Path, start: Start, request: pytest.FixtureRequest) -> Path:
    """A store that cannot be used, made in the way the test names."""
    file = home / "holdfast.db"
    add(start, "I keep bees.")
    for rest in home.glob("holdfast.db-*"):
        rest.unlink()
    if request.param == "not a database":
        file.write_bytes(b"These are words. " * 1000)
    elif request.param == "another program's":
        file.unlink()
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE mine (x)")
        other.close()
    else:
        file.unlink()
        file.mkdir()
    return file


@pytest.mark.parametrize(
    "damaged", ["not a database", "another program's", "a folder"], indirect=True
)
def test_a_store_that_cannot_be_used_is_code_4(damaged: Path, start: Start) -> None:
    result = start("search", "-u", "ada", "bees")
    assert result.returncode == 4
    assert last_line(result).startswith("error: ")
    doctor = start("doctor", "--json")
    assert doctor.returncode == 1
    states = {check["name"]: check["state"] for check in json.loads(doctor.stdout)["checks"]}
    assert states["store"] == "broken"
    assert states["embedder"] == "ok"


def test_a_home_that_is_a_file_is_code_4(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    result = start("add", "-u", "ada", "--home", file, "text")
    assert result.returncode == 4
    assert "(STORE" in last_line(result)
    assert start("doctor", "--home", file).returncode == 1


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("c.toml", "treshold = 0.2", "threshold"),
        ("c.toml", "threshold = 7", "threshold"),
        ("c.toml", "= nonsense", "c.toml"),
        ("c.json", "{}", "TOML"),
        ("none.toml", None, "none.toml"),
        ("c.yaml", "embedder: {provider: nonsense, config: {}}", "nonsense"),
    ],
)
def test_a_wrong_setting_is_code_2(
    name: str, text: str | None, says: str, start: Start, tmp_path: Path
) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    result = start("search", "-u", "ada", "--config", file, "bees")
    assert result.returncode == 2
    assert says in last_line(result)
    assert start("doctor", "--config", file).returncode == 1


def test_an_output_that_cannot_show_a_sign_shows_a_question_mark(start: Start) -> None:
    add(start, "東京でチェロを弾く")
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    result = start("list", "-u", "ada", env=env)
    assert result.returncode == 0
    assert b"????" in result.stdout
