"""Commands on single memories: what they print for people and programs, and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

Done = Callable[..., str]
Told = Callable[..., Any]
Refused = Callable[..., str]

BEES = "I keep three hives of bees in Kent."


def remember(told: Told, *words: object) -> str:
    """Adds a memory of Ada's; its id."""
    (item,) = told("add", "-u", "ada", *words)["results"]
    identity: str = item["id"]
    return identity


def test_what_is_added_is_found_with_score_date_and_speaker(done: Done, told: Told) -> None:
    remember(told, "--name", "Ada", "--at", "2024-03-01T10:00", BEES)
    remember(told, "The boiler was replaced in June.")
    table = done("search", "-u", "ada", "who", "has", "bees?")
    first = table.splitlines()[2]
    assert "2024-03-01" in first
    assert "Ada" in first
    assert "hives" in first
    results = told("search", "-u", "ada", "-k", 1, "bees")["results"]
    assert [item["memory"] for item in results] == [BEES]


def test_the_table_names_the_end_of_the_id_and_wide_the_whole(done: Done, told: Told) -> None:
    identity = remember(told, "--metadata", '{"source": "mail"}', BEES)
    narrow, wide = done("list", "-u", "ada"), done("list", "-u", "ada", "--wide")
    assert identity not in narrow
    assert identity[-8:] in narrow
    assert identity in wide
    assert '{"source": "mail"}' in wide
    assert "user=ada" in wide
    assert BEES in wide


def test_tables_stay_within_the_terminal(done: Done, told: Told) -> None:
    remember(told, "word " * 200)
    lines = done("search", "-u", "ada", "word").splitlines()
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("columns", [20, 30, 40, 59, 60, 80, 109, 110, 200])
def test_no_text_is_cut_however_narrow_the_terminal(
    columns: int, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "I moved to Lisbon in May and I am allergic to peanuts."
    done("add", "-u", "alice", said)
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in (["list"], ["search", "peanuts"]):
        shown = done(*command, "-u", "alice")
        assert [word for word in said.split() if word not in shown.split()] == []


def test_a_wide_terminal_shows_whole_ids(
    done: Done, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = told("add", "-u", "alice", "I moved to Lisbon in May.")
    whole = added["results"][0]["id"]
    monkeypatch.setenv("COLUMNS", "120")
    assert whole in done("list", "-u", "alice")
    assert whole in done("search", "-u", "alice", "Lisbon")


def test_text_may_come_from_standard_input(done: Done, told: Told) -> None:
    done("add", "-u", "ada", "-", input="From a pipe\n")
    done("add", "-u", "ada", input="Without a dash\n")
    assert {item["memory"] for item in told("list", "-u", "ada")["results"]} == {
        "From a pipe",
        "Without a dash",
    }
    found = told("search", "-u", "ada", "--threshold", 0, "-", input="Without what?")
    assert found["results"][0]["memory"] == "Without a dash"


def test_add_says_whether_it_was_known(done: Done) -> None:
    args = ("add", "-u", "ada", "--at", "2024-01-01", BEES)
    assert done(*args).startswith("remembered: ")
    assert done(*args).startswith("known already: ")


def test_an_idempotency_key_makes_add_repeatable(told: Told) -> None:
    once = told("add", "-u", "ada", "--key", "k1", BEES)
    again = told("add", "-u", "ada", "--key", "k1", BEES)
    assert once["results"] == again["results"]
    assert told("list", "-u", "ada")["total"] == 1


def test_the_environment_names_the_user_until_an_option_or_a_filter_does(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_USER", "ada")
    told("add", BEES)
    told("add", "-u", "bob", "Bob plays the cello.")
    assert told("list")["total"] == 1
    assert told("list", "-u", "bob")["results"][0]["user_id"] == "bob"
    everybody = '{"OR": [{"user_id": "ada"}, {"user_id": "bob"}]}'
    assert told("list", "--filter", everybody)["total"] == 2
    assert told("list", "--filter", '{"role": "user"}')["total"] == 1


def test_a_filter_narrows_what_an_option_names(told: Told) -> None:
    remember(told, "--category", "hobby", BEES)
    remember(told, "--category", "home", "The boiler was replaced in June.")
    found = told("list", "-u", "ada", "--filter", '{"categories": {"in": ["hobby"]}}')
    assert [item["memory"] for item in found["results"]] == [BEES]


def test_list_goes_on_where_the_page_ended(told: Told, run: Any) -> None:
    for number in range(5):
        remember(told, f"Fact number {number}")
    page = run("list", "-u", "ada", "-n", 3)
    cursor = page.stderr.split()[-1]
    assert page.stderr.startswith("3 of 5.")
    rest = told("list", "-u", "ada", "--cursor", cursor)
    assert [item["memory"] for item in rest["results"]] == ["Fact number 1", "Fact number 0"]


def test_update_history_get_and_delete(done: Done, told: Told, refused: Refused) -> None:
    identity = remember(told, BEES)
    done("update", identity, "I sold the bees.", "--metadata", '{"year": 2026}')
    shown = done("get", identity)
    assert "I sold the bees." in shown
    assert '{"year": 2026}' in shown
    assert [change["event"] for change in told("history", identity)] == ["ADD", "UPDATE"]
    assert "UPDATE" in done("history", identity)
    origin = told("provenance", identity)
    assert (origin["edited"], origin["via"]) == (True, "cli")
    shown = done("provenance", identity)
    assert "verbatim, and edited since" in shown
    assert re.search(rf"edited +{origin['principal']} \(user\) +cli", shown)
    assert "deleted" in done("delete", identity)
    assert "(NOT_FOUND)" in refused(3, "get", identity)
    assert "(NOT_FOUND)" in refused(3, "delete", identity)


def test_expiry_is_set_and_removed(told: Told) -> None:
    identity = remember(told, "--expires", "2020-01-01", BEES)
    assert told("search", "-u", "ada", "bees")["results"] == []
    assert told("search", "-u", "ada", "bees", "--show-expired")["results"] != []
    told("update", identity, "--never-expires")
    assert told("search", "-u", "ada", "bees")["results"] != []


def test_wide_shows_until_when_it_is_valid(told: Told, done: Done) -> None:
    remember(told, "--expires", "2099-01-01", "--immutable", BEES)
    wide = done("list", "-u", "ada", "--wide")
    assert "expires 2099-01-01  immutable" in wide


def test_delete_all_needs_whose_and_a_yes(told: Told, done: Done, refused: Refused) -> None:
    remember(told, BEES)
    assert "--user" in refused(2, "delete", "--all", "--yes")
    assert "--yes" in refused(2, "delete", "--all", "-u", "ada")
    assert told("list", "-u", "ada")["total"] == 1
    assert "(1)" in done("delete", "--all", "-u", "ada", "--yes")
    assert told("list", "-u", "ada")["total"] == 0


def test_explain_shows_the_parts_of_the_score(done: Done, told: Told) -> None:
    remember(told, BEES)
    assert "parts of the score" in done("search", "-u", "ada", "--explain", "bees")
    found = told("search", "-u", "ada", "--explain", "bees")["results"]
    assert "parts" in found[0]["score_details"]


def test_nothing_found_is_said_and_is_no_error(done: Done, told: Told) -> None:
    assert done("search", "-u", "nobody", "bees") == "Nothing found.\n"
    assert done("list", "-u", "nobody") == "No memories.\n"
    assert told("search", "-u", "nobody", "bees") == {"results": []}


def test_other_peoples_text_cannot_steer_the_terminal(done: Done, told: Told) -> None:
    remember(
        told, "--category", "\x1b[1m", "before \x1b[2J\x9b31m after [bold]not markup[/bold] :smile:"
    )
    for shown in (
        done("list", "-u", "ada"),
        done("list", "-u", "ada", "--wide"),
        done("search", "-u", "ada", "before after"),
    ):
        assert "\x1b" not in shown
        assert "\x9b" not in shown
    whole = done("list", "-u", "ada", "--wide")
    assert "[bold]not markup[/bold] :smile:" in whole


@pytest.mark.parametrize(
    ("arguments", "input", "says"),
    [
        (["add", "hello"], None, "--user"),
        (["add", "-u", "ada"], "", "text to remember"),
        (["add", "-u", "ada"], " \n\t", "text to remember"),
        (["add", "-u", "ada", " "], None, "VALIDATION"),
        (["add", "-u", " ", "hello"], None, "user_id"),
        (["add", "-u", "x" * 10_240, "hello"], None, "TOO_LARGE"),
        (["add", "-u", "ada"], "x" * 1_048_577, "TOO_LARGE"),
        (["add", "-u", "ada"], b"\xff\xfe\x00binary", "UTF-8"),
        (["add", "-u", "ada"], "a NUL \x00 inside", "NUL"),
        (["add", "-u", "ada", "half \ud83d"], None, "surrogate"),
        (["add", "-u", "ada", "--role", "wizard", "hello"], None, "role"),
        (["add", "-u", "ada", "--at", "soon", "hello"], None, "timestamp"),
        (["add", "-u", "ada", "--expires", "never", "hello"], None, "expiration_date"),
        (["add", "-u", "ada", "--metadata", "{", "hello"], None, "--metadata is not JSON"),
        (["add", "-u", "ada", "--metadata", "[1]", "hello"], None, "JSON object"),
        (["search", "hello"], None, "--user"),
        (["search", "-u", "ada"], "", "question"),
        (["search", "-u", "ada", "-k", "0", "hello"], None, "top_k"),
        (["search", "-u", "ada", "-k", "-5", "hello"], None, "top_k"),
        (["search", "-u", "ada", "--threshold", "nan", "hello"], None, "threshold"),
        (["search", "-u", "ada", "--threshold", "2", "hello"], None, "threshold"),
        (["search", "-u", "ada", "--as-of", "32 May", "hello"], None, "as_of"),
        (["search", "-u", "ada", "--filter", "{", "hello"], None, "--filter is not JSON"),
        (["search", "-u", "ada", "--filter", "3", "hello"], None, "JSON object"),
        (["search", "-u", "a", "--filter", '{"user_id": "b"}', "hello"], None, "both name"),
        (["search", "-u", "a", "--filter", '{"x": {"like": 1}}', "hello"], None, "FILTER"),
        (["search", "--filter", '{"NOT": [{"user_id": "a"}]}', "hello"], None, "FILTER"),
        (["search", "--filter", '{"NOT":' * 40 + "{}" + "}" * 40, "hello"], None, "FILTER"),
        (["list", "-u", "ada", "--cursor", "nonsense"], None, "cursor"),
        (["list", "-u", "ada", "-n", "100000"], None, "--limit"),
        (["update", "some-id"], None, "nothing to change"),
        (["update", "some-id", "--expires", "2030-01-01", "--never-expires"], None, "contradict"),
        (["delete"], None, "ids"),
        (["delete", "some-id", "--all", "-u", "ada"], None, "ids"),
        (["events", "--wait"], None, "id"),
        (["events", "--status", "odd"], None, "SUCCEEDED"),
    ],
)
def test_bad_input_is_one_line_and_code_2_and_changes_nothing(
    arguments: list[str], input: Any, says: str, refused: Refused, told: Told
) -> None:
    assert says in refused(2, *arguments, input=input)
    assert told("stats")["memories"] == 0


@pytest.mark.parametrize("arguments", [["get", "no-such"], ["update", "no-such", "text"],
                                       ["delete", "no-such"], ["history", "no-such"],
                                       ["events", "no-such"]])  # fmt: skip
def test_what_does_not_exist_is_code_3(arguments: list[str], refused: Refused) -> None:
    assert "(NOT_FOUND)" in refused(3, *arguments)


@pytest.mark.parametrize(
    "text", ["مرحبا بالعالم", "שלום עולם", "👩‍👩‍👧 🎻", "東京でチェロを弾く", "a/b 'c' \"d\" \\e"]
)
def test_every_script_goes_in_and_comes_out(text: str, told: Told) -> None:
    remember(told, text)
    assert told("list", "-u", "ada")["results"][0]["memory"] == text


@pytest.mark.parametrize("user", ["with space", "a/b?c", 'o\'brien "x"', "用户", "%00", "--json"])
def test_ids_may_hold_any_printable_text(user: str, told: Told) -> None:
    told("add", f"--user={user}", BEES)
    assert told("list", f"--user={user}")["results"][0]["user_id"] == user


def test_debug_lets_the_error_through(run: Any) -> None:
    result = run("get", "no-such", "--debug")
    assert type(result.exception).__name__ == "NotFoundError"
