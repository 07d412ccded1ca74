"""Backups over HTTP: which there are, to make one, what it holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.served import Served, served


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    place = {"provider": "folder", "config": {"path": str(tmp_path / "backups")}}
    with served(tmp_path / "store", {"backup": place}) as running:
        yield running


def until(client: httpx.Client, wanted: str) -> Any:
    """How backups stand once the work is in some state."""
    for _ in range(400):
        found = client.get("/holdfast/backups").json()
        if found["work"]["state"] == wanted:
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def test_made_listed_shown(client: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "bees"}], "user_id": "ann", "infer": False}
    assert client.post("/memories", json=body).status_code == 200
    before = client.get("/holdfast/backups").json()
    assert before == {
        "backups": [], "too_old": True, "failed_at": None, "next_at": None, "work": None,
    }  # fmt: skip
    assert client.post("/holdfast/backups", json={"full": True}).status_code == 202
    found = until(client, "SUCCEEDED")
    [made] = found["backups"]
    assert (found["too_old"], found["work"]["backup_id"]) == (False, made["id"])
    assert (made["kind"], made["whole"], made["sealed"]) == ("full", True, False)
    shown = client.get(f"/holdfast/backups/{made['id']}").json()
    assert (shown["backup"], shown["tables"]["memories"]) == (made, 1)
    assert client.get("/holdfast/backups/nobody").status_code == 404
    assert client.post("/holdfast/backups", json={"all": True}).status_code == 400


def test_what_fails_is_told(client: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "backups").write_text("not a folder")
    assert client.post("/holdfast/backups", json={}).status_code == 202
    for _ in range(400):
        answer = client.get("/holdfast/backups")
        if answer.status_code == 200 and answer.json()["work"]["state"] == "FAILED":
            assert answer.json()["work"]["error"] == "BACKUP_UNAVAILABLE"
            return
        time.sleep(0.02)
    raise AssertionError(answer.text)
