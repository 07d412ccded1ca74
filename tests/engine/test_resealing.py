"""Sealing what was plain, and rotating keys: online, resumable, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from holdfast import AsyncMemory
from holdfast.admin import AsyncAdmin
from holdfast.backends.sql import resealing
from holdfast.errors import ConfigError, CorruptError, KeyRingError, UnsupportedError
from holdfast.ports.sealing import SealStatus
from support.sealed import MASTER, RENEWED, written
from tests.engine.test_sealed import CANARY, config, database, hold, traces

USERS = ("alice", "bob", "carl", "dora")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "master.keys"
    file.touch(mode=0o600)
    hold(file, MASTER)
    return file


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small steps."""
    monkeypatch.setattr(resealing, "_ROWS", 3)
    monkeypatch.setattr(resealing, "_KEYS", 2)


async def fill(memory: AsyncMemory) -> None:
    for user in USERS:
        for text in ("tea", "rum"):
            answer = await memory.add(f"{CANARY}: I like {text}.", user_id=user, infer=False)
        await memory.update(answer["results"][0]["id"], f"{CANARY}: I like milk.")


async def contents(memory: AsyncMemory) -> list[Any]:
    found: list[Any] = []
    for user in USERS:
        page = await memory.get_all(filters={"user_id": user})
        found += [one["memory"] for one in page["results"]]
        for one in page["results"]:
            events = await memory.history(one["id"])
            found += [(event["old_memory"], event["new_memory"]) for event in events]
        hits = (await memory.search("What do I like?", filters={"user_id": user}))["results"]
        found += [(hit["memory"], hit["score"]) for hit in hits]
    return found


def versions(tmp_path: Path) -> dict[int, int]:
    """How many subjects have so many keys."""
    with database(tmp_path) as connection:
        rows = connection.execute(
            "SELECT v, count(*) FROM (SELECT max(version) AS v FROM subject_keys "
            "WHERE kind <> 'store' GROUP BY project, kind, id) GROUP BY v"
        )
        return dict(rows.fetchall())


async def plain_then_sealed(tmp_path: Path, keys: Path) -> list[Any]:
    async with AsyncMemory(config(tmp_path, None)) as memory:
        await fill(memory)
        before = await contents(memory)
    async with AsyncAdmin(config(tmp_path, keys)) as admin:
        assert not (await admin.sealing.status()).whole
    return before


@pytest.mark.usefixtures("small")
async def test_a_plain_store_becomes_a_sealed_one(tmp_path: Path, keys: Path) -> None:
    before = await plain_then_sealed(tmp_path, keys)
    assert traces(tmp_path)
    steps: list[tuple[int, int]] = []
    async with AsyncAdmin(config(tmp_path, keys)) as admin:
        assert (await admin.sealing.status()).plain > 20
        resealed = await admin.sealing.run(lambda done, total: steps.append((done, total)))
        status = await admin.sealing.status()
        assert resealed.texts > 20
        assert (status.whole, status.plain) == (True, 0)
        assert traces(tmp_path) == [], "in the file or its write-ahead log"
        assert await contents(admin.memory()) == before
        assert (await admin.sealing.run()).texts == 0
    assert steps[-1][0] == steps[-1][1]
    assert traces(tmp_path) == []
    with database(tmp_path) as connection:
        connection.execute("UPDATE memories SET text = 'planted'")
    async with AsyncAdmin(config(tmp_path, keys)) as admin:
        with pytest.raises(CorruptError, match="is not sealed"):
            await contents(admin.memory())


async def test_a_process_that_writes_plain_texts_is_refused(tmp_path: Path, keys: Path) -> None:
    async with AsyncMemory(config(tmp_path, None)) as earlier:
        await fill(earlier)
        async with AsyncAdmin(config(tmp_path, keys)) as admin:
            with pytest.raises(ConfigError, match="began to seal"):
                await earlier.add(f"{CANARY} too", user_id="alice", infer=False)
            await admin.sealing.run()
            listed = await admin.memory().get_all(filters={"user_id": "bob"})
            memory_id = listed["results"][0]["id"]
            for call in (
                earlier.get(memory_id),
                earlier.history(memory_id),
                earlier.get_all(filters={"user_id": "bob"}),
            ):
                with pytest.raises(ConfigError, match="began to seal"):
                    await call
    assert traces(tmp_path) == []


@pytest.mark.usefixtures("small")
async def test_writes_go_on_while_texts_are_sealed(tmp_path: Path, keys: Path) -> None:
    await plain_then_sealed(tmp_path, keys)
    settings = config(tmp_path, keys)
    async with AsyncAdmin(settings) as admin, AsyncMemory(settings) as other:
        listed = (await other.get_all(filters={"user_id": "alice"}))["results"]

        async def write() -> None:
            for n in range(10):
                await other.update(listed[0]["id"], f"{CANARY}: number {n}")
                await other.add(f"{CANARY}: a new one {n}", user_id="bob", infer=False)

        await asyncio.gather(admin.sealing.run(), write(), admin.sealing.rotate_keys())
        assert (await other.get(listed[0]["id"]) or {})["memory"] == f"{CANARY}: number 9"
        assert (await admin.sealing.status()).plain == 0
    assert traces(tmp_path) == []


@pytest.mark.usefixtures("small")
async def test_the_master_key_is_changed(tmp_path: Path, keys: Path) -> None:
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        await fill(memory)
        before = await contents(memory)
    hold(keys, RENEWED)
    async with AsyncAdmin(config(tmp_path, keys)) as admin:
        status = await admin.sealing.status()
        assert (status.master, status.old_master) == ("second", status.keys)
        assert (await admin.sealing.rotate_master()).keys == status.keys
        assert (await admin.sealing.status()).old_master == 0
    hold(keys, {"second": RENEWED["second"]})  # the first one is not needed any more
    async with AsyncAdmin(config(tmp_path, keys)) as admin:
        assert await contents(admin.memory()) == before
    hold(keys, MASTER)
    with pytest.raises(KeyRingError):
        async with AsyncMemory(config(tmp_path, keys)):
            pass


@pytest.mark.usefixtures("small")
async def test_data_keys_are_changed(tmp_path: Path, keys: Path) -> None:
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        await fill(memory)
        before = await contents(memory)
    async with (
        AsyncAdmin(config(tmp_path, keys)) as admin,
        AsyncMemory(config(tmp_path, keys)) as other,
    ):
        assert await contents(other) == before  # has the old keys in memory
        resealed = await admin.sealing.rotate_keys()
        assert (resealed.keys, resealed.texts > 20) == (len(USERS), True)
        assert versions(tmp_path) == {2: len(USERS)}
        assert await contents(other) == before
        await other.add("With the old key still", user_id="alice", infer=False)
        assert len(await contents(admin.memory())) > len(before)


DYING = """
import asyncio, os, signal, sys
from holdfast.admin import AsyncAdmin
from holdfast.backends.sql import resealing

async def main(folder, keys, verb, steps):
    resealing._ROWS, resealing._KEYS = 3, 2
    left = int(steps)
    def told(done, total):
        nonlocal left
        left -= 1
        # vectors are the last: at the end of all, if no step is named
        if left == 0 or (left < 0 and total - 4 < done < total):
            os.kill(os.getpid(), signal.SIGKILL)
    seal = {"provider": "file", "config": {"path": keys}}
    async with AsyncAdmin({"path": folder, "workers": 0, "seal": seal}) as admin:
        await getattr(admin.sealing, verb)(told)

asyncio.run(main(*sys.argv[1:]))
"""


def killed(tmp_path: Path, keys: Path, verb: str, steps: int) -> None:
    """Do this in a process that is killed after so many steps."""
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path / "store"), str(keys), verb, str(steps)],
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def whole(status: SealStatus) -> bool:
    plain = status.plain + status.plain_vectors
    return status.whole and not plain and not status.old_master


@pytest.mark.parametrize("steps", [1, 4, 0])
@pytest.mark.parametrize("verb", ["run", "rotate_master", "rotate_keys"])
async def test_killed_in_the_middle_it_goes_on(
    verb: str, steps: int, tmp_path: Path, keys: Path
) -> None:
    if verb == "run":
        before = await plain_then_sealed(tmp_path, keys)
    else:
        async with AsyncMemory(config(tmp_path, keys)) as memory:
            await fill(memory)
            before = await contents(memory)
    if verb == "rotate_master":
        hold(keys, RENEWED)
        steps = min(steps, 2) or 3
    await asyncio.to_thread(killed, tmp_path, keys, verb, steps)
    async with AsyncAdmin(config(tmp_path, keys)) as admin:
        assert await contents(admin.memory()) == before, "half done, everything is read"
        await getattr(admin.sealing, verb)()
        assert await contents(admin.memory()) == before
        assert whole(await admin.sealing.status())
    assert versions(tmp_path) == {2 if verb == "rotate_keys" else 1: len(USERS)}
    assert traces(tmp_path) == []


async def test_texts_encrypted_by_fernet_are_read_and_sealed(tmp_path: Path, keys: Path) -> None:
    key = Fernet.generate_key()
    async with AsyncMemory(config(tmp_path, None)) as memory:
        answer = await memory.add("I like tea.", user_id="alice", infer=False)
    with database(tmp_path) as connection:
        token = Fernet(key).encrypt(b"I like tea.").decode()
        connection.execute("UPDATE memories SET text = ?", (token,))
    settings = config(tmp_path, keys)
    settings["seal"]["config"]["fernet_keys"] = [key.decode()]
    async with AsyncAdmin(settings) as admin:
        memory_id = answer["results"][0]["id"]
        assert (await admin.memory().get(memory_id) or {})["memory"] == "I like tea."
        await admin.sealing.run()
    async with AsyncMemory(config(tmp_path, keys)) as memory:  # without the old key
        assert (await memory.get(memory_id) or {})["memory"] == "I like tea."
    assert traces(tmp_path, token) == []


@pytest.mark.usefixtures("small")
async def test_sensitive_metadata_is_sealed(tmp_path: Path, keys: Path) -> None:
    secret = {"ssn": {"of": CANARY}, "city": "Oslo"}
    settings = config(tmp_path, keys)
    settings["seal"]["config"]["sensitive_metadata"] = ["ssn", "note"]
    async with AsyncMemory(config(tmp_path, None)) as memory:  # plain at first
        old = await memory.add("I like tea.", user_id="alice", infer=False, metadata=secret)
    async with AsyncAdmin(settings) as admin:
        memory = admin.memory()
        assert traces(tmp_path)
        assert (await admin.sealing.run()).texts > 2
        assert traces(tmp_path) == []
        note = {"note": CANARY, "city": "Rome"}
        new = await memory.add("I like rum.", user_id="alice", infer=False, metadata=note)
        old_id, new_id = old["results"][0]["id"], new["results"][0]["id"]
        await memory.update(new_id, metadata={"ssn": 7})
        assert (await memory.get(new_id) or {})["metadata"] == note | {"ssn": 7}
        for where, ids in (
            ({"metadata": {"note": CANARY}}, [new_id]),
            ({"metadata": {"note": {"contains": CANARY[2:5]}}}, [new_id]),
            ({"metadata": {"ssn": {"gt": 3}}}, [new_id]),
            ({"NOT": [{"metadata": {"note": CANARY}}]}, [old_id]),
            ({"metadata": {"city": "Oslo"}}, [old_id]),
        ):
            filters = {"AND": [{"user_id": "alice"}, where]}
            listed = (await memory.get_all(filters=filters))["results"]
            assert [one["id"] for one in listed] == ids, where
        await admin.sealing.rotate_keys()
    assert traces(tmp_path) == []
    async with AsyncMemory(config(tmp_path, keys)) as memory:  # the setting was forgotten
        assert (await memory.get(old_id) or {})["metadata"] == secret
        assert (await memory.get(new_id) or {})["metadata"] == note | {"ssn": 7}
    with database(tmp_path) as connection:
        swap = "UPDATE memories SET metadata = (SELECT metadata FROM memories WHERE id = ?)"
        connection.execute(f"{swap} WHERE id = ?", (new_id, old_id))
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        with pytest.raises(CorruptError, match="metadata"):
            await memory.get(old_id)


async def test_a_plain_store_has_nothing_to_rotate(tmp_path: Path) -> None:
    async with AsyncAdmin(config(tmp_path, None)) as admin:
        with pytest.raises(UnsupportedError):
            await admin.sealing.status()


def test_the_commands(tmp_path: Path, keys: Path) -> None:
    home = str(tmp_path / "store")
    environment = {**os.environ, "HOLDFAST_HOME": home}
    sealing = {"HOLDFAST_SEAL_PROVIDER": "environment", "HOLDFAST_MASTER_KEYS": written()}

    def call(*arguments: str, env: dict[str, str]) -> str:
        line = [sys.executable, "-m", "holdfast", *arguments]
        done = subprocess.run(line, env=env, capture_output=True, check=True, text=True)
        return done.stdout

    call("add", f"I was in {CANARY}", "--user", "alice", env=environment)
    sealed = environment | sealing
    assert '"whole":false' in call("seal", "status", "--json", env=sealed).replace(" ", "")
    call("seal", "run", env=sealed)
    assert traces(tmp_path) == []
    renewed = sealed | {"HOLDFAST_MASTER_KEYS": written(RENEWED).replace("\n", ",")}
    assert '"keys":' in call("seal", "rotate-master", "--json", env=renewed)
    assert '"texts":' in call("seal", "rotate-keys", "--json", env=renewed)
    assert CANARY in call("search", "Where was I?", "--user", "alice", env=renewed)
    with closing(sqlite3.connect(Path(home) / "holdfast.db")) as connection:
        [name] = connection.execute("SELECT DISTINCT key_id FROM subject_keys").fetchone()
    assert name == "second"
