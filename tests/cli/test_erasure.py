"""`holdfast forget` and `holdfast erasure`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

from holdfast import Memory
from tests.cli.conftest import Run


def test_forget_shows_asks_erases_and_proves(run: Run, home: Path) -> None:
    with Memory() as memory:
        memory.add("I like tea.", user_id="alice")
        memory.add("I like coffee.", user_id="bob")
    shown = json.loads(run("forget", "--user", "alice", "--dry-run", "--json").stdout)
    assert shown["found"]["memories"] == 1
    page = home / "alice.html"
    assert (
        run("subject", "export", "--user", "alice", "--format", "html", "-o", page).exit_code == 0
    )
    assert "I like tea." in page.read_text()
    assert page.stat().st_mode & 0o077 == 0
    told = json.loads(run("subject", "export", "--user", "alice").stdout)
    assert [one["memory"] for one in told["memories"]] == ["I like tea."]
    table = run("forget", "--user", "alice", "--dry-run").stdout
    assert "anonymised" in table
    assert "raw turns" in table
    assert run("forget", "--user", "alice").exit_code != 0  # nobody can be asked
    file = home / "receipt.json"
    done = run("forget", "--user", "alice", "--yes", "--receipt", str(file))
    assert done.exit_code == 0
    assert "found nothing" in done.stdout
    assert json.loads(file.read_text())["found"]["memories"] == 1
    assert json.loads(run("list", "--user", "alice", "--json").stdout)["results"] == []
    assert len(json.loads(run("list", "--user", "bob", "--json").stdout)["results"]) == 1
    [told] = json.loads(run("erasure", "list", "--json").stdout)["results"]
    assert told["state"] == "DONE"
    assert "DONE" in run("erasure", "list").stdout

    key = run("erasure", "key").stdout.strip()
    assert run("erasure", "verify", str(file)).exit_code == 0
    assert run("erasure", "verify", str(file), "--user", "alice").exit_code == 0
    assert run("erasure", "verify", str(file), "--user", "bob").exit_code == 1
    assert run("erasure", "verify", str(file), "--key", key).exit_code == 0
    assert "0 subjects" in run("erasure", "reapply", str(file), "--yes").stdout
    assert "0 subjects" in run("erasure", "resume").stdout
    changed = json.loads(file.read_text()) | {"kind": "run"}
    file.write_text(json.dumps(changed))
    assert run("erasure", "verify", str(file)).exit_code == 1
    assert run("erasure", "verify", str(file), "--key", key).exit_code == 1


def test_retention_is_set_shown_and_run(run: Run) -> None:
    with Memory() as memory:
        memory.add("I like tea.", user_id="alice")
    assert run("retention", "run", "--yes").stdout == "No rules.\n"
    told = json.loads(run("retention", "set", "turns=0", "jobs=30", "--json").stdout)
    assert told["rules"] == {"turns": 0.0, "jobs": 30.0}
    assert "by when they were stored" in " ".join(run("retention", "show").stdout.split())
    assert "turns: 1 would be removed" in run("retention", "run", "--dry-run").stdout
    assert "turns: 1 removed" in run("retention", "run", "--yes").stdout
    told = json.loads(run("retention", "set", "turns=off", "--json").stdout)
    assert told["rules"] == {"jobs": 30.0}
    failed = run("retention", "set", "turns=soon")
    assert "VALIDATION" in failed.stderr


def test_what_is_no_receipt_and_nobody_is_said_in_a_line(run: Run, home: Path) -> None:
    file = home / "no.json"
    file.write_text("[]")
    for call in (
        ("erasure", "verify", str(file)),
        ("erasure", "verify", str(home / "absent.json")),
        ("forget", "--yes"),
        ("subject", "export", "--user", "a", "--format", "pdf"),
        ("forget", "--user", "a", "--agent", "b", "--yes"),
    ):
        failed = run(*call)
        assert failed.exit_code != 0
        assert len(failed.stderr.strip().splitlines()) == 1
        assert "VALIDATION" in failed.stderr
