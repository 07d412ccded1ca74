"""Store today's database for the tests of tomorrow.

    PYTHONPATH=tests python -m tests.upgrade.make_fixture

Run it once for every new revision and commit what it writes (`git add -f tests/upgrade/fixtures`).
A fixture of a released revision is never made again: it is what that release really wrote.
Beside each database lies what could be read from it, as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from holdfast.backends.sqlite.migrate import REVISIONS
from holdfast.clock import ManualClock, seeded_ids
from holdfast.core.identity import content_hash, fact_identity
from holdfast.directory import KINDS
from holdfast.engine.delete import delete, delete_all
from holdfast.engine.embedding import rows_of, terms_of
from holdfast.engine.parts import Parts
from holdfast.engine.update import UpdateRequest, update
from holdfast.model import Entity, Job, Memory, Scope, Source, Turn, Usage
from holdfast.ports import PutJob, PutMemory, PutTurns, PutUsage
from holdfast.testing.contracts.rows import sample
from support.embedded import add, of_user, opened
from support.revisions import create, current

FIXTURES = Path(__file__).parent / "fixtures"
NOW = 1_700_000_000.0
SEED = 7


def main() -> None:
    """Write the fixture of the newest revision, or of the one named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--revision", choices=REVISIONS, default=REVISIONS[-1])
    revision = parser.parse_args().revision
    path = FIXTURES / f"{revision}.db"
    if path.exists():
        raise SystemExit(f"{path.name} is there: a released fixture stays as it is")
    FIXTURES.mkdir(exist_ok=True)
    create(path, revision)
    with current(revision):
        seen = asyncio.run(_fill(path, revision))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
    path.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(seen)) + b"\n")


async def _fill(path: Path, revision: str) -> dict[str, Any]:
    clock = ManualClock(NOW)
    async with opened(path, clock=clock, ids=seeded_ids(clock, SEED)) as parts:
        await _verbatim(parts)
        await _facts(parts, clock)
        if revision >= "0002":
            usage = Usage(model="tests:model", input_tokens=1_200, output_tokens=80)
            row = PutUsage(usage=usage, operation="add", scope=Scope(user_id="bob"), at=NOW)
            await parts.records.commit(parts.project, [row])
        if revision >= "0003":
            await parts.directory.insert(*(sample(kind) for kind in KINDS))
        return await read(parts)


async def _verbatim(parts: Parts) -> None:
    """Turns of ann: plain, edited, deleted, expiring, in several scripts; others of f, all gone."""
    said = [
        {"role": "user", "content": "I am allergic to peanuts 🥜.", "name": "Ann"},
        {"role": "assistant", "content": "Noted: no peanuts."},
        {"role": "user", "content": "花生过敏，لا آكل الفول السوداني", "name": "Ann"},
    ]
    more: dict[str, Any] = {"metadata": {"n": 1, "nested": {"ü": [1.5, None, True]}}}
    ids = await add(parts, said, "ann", categories=("food", "health"), **more)
    await add(parts, "valid for a while", "ann", NOW - 86_400.0, expires_on="2023-12-24")
    await add(parts, "kept under a key", "ann", idempotency_key="key-1")
    await update(parts, UpdateRequest(memory_id=ids[1], text="Noted: no nuts.", metadata={"n": 2}))
    [gone] = await add(parts, "to be deleted", "ann")
    await delete(parts, gone)
    await add(parts, "forgotten with everything else", "f")
    await delete_all(parts, of_user("f"))


async def _facts(parts: Parts, clock: ManualClock) -> None:
    """Facts of bob from turns that stand beside them; one ends the other; jobs in every state."""
    scope = Scope(user_id="bob", agent_id="guide", run_id="trip")
    turns = tuple(
        Turn(id=f"turn-{place}", role="user", text=f"I live in {city}.", event_at=NOW + place)
        for place, city in enumerate(("Berlin", "Rome"))
    )
    await parts.records.commit(parts.project, [PutTurns(scope=scope, turns=turns)])
    old: tuple[str, ...] = ()
    for turn in turns:
        text = turn.text.replace("I live", "Bob lives")
        [vector] = rows_of(await parts.embedder.embed([text]))
        memory = Memory(
            id=parts.ids.new(),
            text=text,
            hash=content_hash(text, b""),
            kind="fact",
            user_id=scope.user_id,
            agent_id=scope.agent_id,
            run_id=scope.run_id,
            event_at=turn.event_at,
            valid_from=turn.event_at,
            created_at=clock.now(),
            updated_at=clock.now(),
        )
        put = PutMemory(
            memory=memory,
            identity=fact_identity("fact", scope, text, b""),
            terms=terms_of(parts, text, None, None),
            vector=vector,
            sources=(Source(turn_id=turn.id, quote=turn.text),),
            supersedes=old,
        )
        old = tuple(await parts.records.commit(parts.project, [put]))
        clock.advance(60)
    await parts.records.commit(parts.project, [PutJob(job=_job(parts, n)) for n in range(3)])
    await parts.jobs.lease("a dead worker", clock.now(), 30.0)


def _job(parts: Parts, number: int) -> Job:
    return Job(
        id=parts.ids.new(),
        project=parts.project,
        kind="extract",
        state="PENDING",
        scope_key=f"scope {number}",
        payload={"turns": ["turn-0"], "memories": [], "at": NOW},
        run_after=NOW,
        created_at=NOW,
    )


async def read(parts: Parts) -> dict[str, Any]:
    """Everything a store holds, as plain values."""
    memories: dict[str, Memory] = {}
    for user in ("ann", "bob", "f"):
        delta = await parts.records.delta(parts.project, Entity("user", user), None)
        memories |= {memory.id: memory for memory in delta.memories}
    entities, _ = await parts.records.entities(parts.project, 0, 100)
    return {
        "memories": [msgspec.to_builtins(one) for one in memories.values()],
        "history": {
            id_: [
                msgspec.to_builtins(event)
                for event in await parts.records.history(parts.project, id_)
            ]
            for id_ in memories
        },
        "turns": [
            msgspec.to_builtins(turn)
            for turn in await parts.records.turns(parts.project, ["turn-0", "turn-1"])
        ],
        "jobs": [
            msgspec.to_builtins(job) for job in await parts.jobs.jobs(parts.project, None, 0, 100)
        ],
        "entities": [msgspec.to_builtins(entity) for entity in entities],
        "directory": {
            kind.table: [msgspec.to_builtins(row) for row in await parts.directory.select(kind)]
            for kind in KINDS
        },
    }


if __name__ == "__main__":
    main()
