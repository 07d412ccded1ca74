"""A small drill, and that what is not equal is told."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.config import load_config
from support import postgres
from support.thorough import often
from tests.drill.drill import Drill, Size, drill
from tests.drill.rows import differences

pytestmark = pytest.mark.skipif(
    postgres.programs(18) is None, reason="Postgres with pgvector is not installed"
)


@pytest.mark.parametrize("sealed", [False, True])
def test_everything_is_equal(tmp_path: Path, *, sealed: bool) -> None:
    told: list[str] = []
    size = Size(memories=often(300, 3_000), users=12, searches=often(20, 300), sealed=sealed)
    assert drill(tmp_path, size, told.append) == [], "\n".join(told)
    assert sum(line.startswith("  equal") for line in told) == 14, "\n".join(told)


PLANTED = {
    "a vector": "UPDATE embeddings SET vector = zeroblob(length(vector)) WHERE memory_no = 30",
    "a moment": "UPDATE history SET created_at = created_at + 1 WHERE no = 4",
    "a row less": "DELETE FROM sources WHERE memory_no = 31",
    "a row more": "INSERT INTO key_uses (id, project, at) VALUES ('x', 'p', 1.0)",
}


@pytest.mark.parametrize("fault", PLANTED)
async def test_what_differs_is_told(tmp_path: Path, fault: str) -> None:
    """The comparison of rows finds one value among all."""
    made = Drill(tmp_path, "", Size(memories=50, users=3, searches=5), lambda _: None)
    await made._lived()
    other: dict[str, Any] = {**made.source, "path": str(tmp_path / "copy")}
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "holdfast.db").write_bytes((tmp_path / "store/holdfast.db").read_bytes())
    one, two = (load_config(each).config for each in (made.source, other))
    assert (await differences(one, two))[1] == []
    with closing(sqlite3.connect(tmp_path / "copy" / "holdfast.db")) as connection, connection:
        assert connection.execute(PLANTED[fault]).rowcount == 1
    assert len((await differences(one, two))[1]) == 1


async def test_answers_that_differ_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    made = Drill(tmp_path, "", Size(memories=50, users=3, searches=5), told.append)
    await made._lived()
    made.before["answers"][2] = [*made.before["answers"][2], ("id", "text", 0.5)]
    await made._answered("embedded", made.source)
    [fault] = made.faults
    assert fault.startswith("embedded: 5 answers"), told
