"""Killed while a backup is made or restored: never half of it is believed whole."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.core.archive import Cutter
from holdfast.engine import restoring
from holdfast.errors import StoreError
from support.drawer import told
from support.thorough import THOROUGH
from tests.crash import backup_victim
from tests.crash.backup_victim import CHUNK_ROWS, LOAD_BYTES, config

pytestmark = pytest.mark.crash

CREATES = (*range(0, 40, 3), -1) if THOROUGH else (7, -1)
MOMENTS = ("inside", "after")
RESTORES = (
    [(number, when) for number in range(1, 20) for when in MOMENTS]
    if THOROUGH
    else [(1, "inside"), (5, "after"), (6, "inside")]
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cutter, "_ends", lambda self, _row: len(self._kept) == CHUNK_ROWS)
    monkeypatch.setattr(restoring, "_LOAD_BYTES", LOAD_BYTES)


def killed(*arguments: object) -> None:
    command = [sys.executable, backup_victim.__file__, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2_000:]


async def filled(folder: Path) -> list[Any]:
    async with AsyncAdmin(config(folder, "store")) as admin:
        turns = [{"role": "user", "content": f"I saw {no} birds."} for no in range(40)]
        await admin.memory().add(turns, user_id="ann", infer=False)
        return await told(admin.memory(), "ann")


async def test_killed_while_it_is_made(tmp_path: Path) -> None:
    before = await filled(tmp_path)
    backups = AsyncAdmin(config(tmp_path, "store")).backups
    for number in CREATES:
        killed("create", number, "-", tmp_path)
        assert await backups.listed() == [], number
    made = await backups.create()
    assert (made.kind, made.whole) == ("full", True)
    assert (await backups.verify()).memories == 40
    other = AsyncAdmin(config(tmp_path, "other"))
    await other.backups.restore()
    async with other as admin:
        assert await told(admin.memory(), "ann") == before


async def test_killed_while_it_is_restored(tmp_path: Path) -> None:
    """Each kill further on: what was loaded before it is not loaded again, nor lost."""
    before = await filled(tmp_path)
    await AsyncAdmin(config(tmp_path, "store")).backups.create()
    for number, when in RESTORES:
        killed("restore", number, when, tmp_path)
        with pytest.raises(StoreError, match="cut off"):
            async with AsyncAdmin(config(tmp_path, "other")):
                pass
    other = AsyncAdmin(config(tmp_path, "other"))
    assert (await other.backups.restore()).resumed
    async with other as admin:
        assert await told(admin.memory(), "ann") == before
        assert (await admin.backups.create(full=True)).whole
        assert (await admin.backups.verify()).memories == 40
