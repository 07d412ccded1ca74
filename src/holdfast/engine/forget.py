"""`forget`: everything that is known of a subject is erased, looked for, and a receipt written.

The erasure stands in the store from its beginning: nothing of the subject is stored meanwhile, and
one whose process died is gone on with from the first step, since each can be done twice. It is DONE
only when nothing was found any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

import holdfast
from holdfast.clock import iso
from holdfast.core.erasure import COPIES, PLACES, RECEIPT_FORM, mark_of
from holdfast.core.text import analyze_query
from holdfast.directory import Erasure, Where
from holdfast.engine import copies
from holdfast.engine.parts import Parts
from holdfast.engine.receipts import signed
from holdfast.errors import AccessError, ConflictError, NotFoundError
from holdfast.filters import Compare, Filter
from holdfast.limits import ERASURE_BATCH
from holdfast.model import Entity, Json, Project, Struct
from holdfast.ports import Listing, Probe, RemoveMemories, View
from holdfast.ports.subjects import Copy

OnCopy = Callable[[str, int, int], None]
"""Called with the copy that is worked at, how many of its rows are done, and of how many."""


class Elsewhere(Protocol):
    """Copies that the parts do not reach. Both may be called twice."""

    async def clear_cache(self) -> None:
        """Empty the caches. Raises CacheUnavailableError."""

    async def drop_from_backups(self, project: str, entity: Entity) -> None:
        """Take the subject's keys from beside the archives, and see to it that nothing of it is
        restored, where backups are configured. Raises BackupUnavailableError."""


_FIRST: tuple[Copy, ...] = ("messages", "jobs", "usage")
_QUESTIONS = 3
"""Memories whose texts are searched for afterwards."""
CHECKS = ("rows", "listing", "search", "ids", "history", "index")
"""How it is looked for what may be left."""

_log = logging.getLogger("holdfast.erasure")


class Before(Struct, frozen=True, kw_only=True):
    """What is remembered of a subject, in this process only, to look for it afterwards."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]


async def inventory(parts: Parts, entity: Entity) -> dict[str, int]:
    """Every copy of what is known of a subject, by the names in `core.erasure.COPIES`.

    Costs a scan of the project. Raises StoreError, IndexUnavailableError.
    """
    ids = await parts.subjects.memory_ids(parts.project, entity)
    found = {**await parts.subjects.inventory(parts.project, entity)}
    found |= await copies.count(parts, entity, ids)
    return {name: found[name] for name in COPIES if name in found}


async def begin(parts: Parts, entity: Entity) -> Erasure:
    """The erasure of a subject, which is begun, or was begun before and is not at its end."""
    if not parts.fence.is_open:
        raise AccessError("This credential may not erase subjects.", hint="Use delete_all.")
    mark = mark_of(parts.records.subjects_id, parts.project, entity)
    mine = (Where("project", parts.project), Where("mark", mark))
    for state in ("RUNNING", "FAILED"):
        known = await parts.directory.select(Erasure, *mine, Where("state", state))
        if known:
            return known[0]
    erasure = Erasure(
        id=parts.ids.new(),
        project=parts.project,
        kind=entity.kind,
        mark=mark,
        subject=entity.id,
        state="RUNNING",
        found=await inventory(parts, entity),
        started_at=parts.clock.now(),
    )
    await parts.subjects.begin(erasure)
    return erasure


async def carry_out(parts: Parts, erasure: Erasure, elsewhere: Elsewhere, told: OnCopy) -> Erasure:
    """Erase what is left of the subject, look for it, write the receipt; the erasure as it ends.

    Raises StoreError, IndexUnavailableError, CacheUnavailableError, BackupUnavailableError: it is
    RUNNING still then, and goes on when it is called again.
    """
    if erasure.subject is None:
        return erasure  # it is done
    entity = Entity(erasure.kind, erasure.subject)
    if erasure.state == "FAILED":
        erasure = await _again(parts, erasure)
    before = await _before(parts, entity)
    await _memories(parts, entity, erasure, told)
    for copy in _FIRST:
        count = await parts.subjects.erase(parts.project, entity, copy)
        told(copy, count, erasure.found.get(copy, 0))
    await copies.index_is_fed(parts, entity)
    await copies.erase(parts, entity, before.ids)
    await parts.subjects.forget(parts.project, entity, erasure.mark)
    # last, for it tells whose memories there were
    count = await parts.subjects.erase(parts.project, entity, "history")
    told("history", count, erasure.found.get("history", 0))
    await elsewhere.drop_from_backups(parts.project, entity)
    await elsewhere.clear_cache()
    ended = await _end(parts, erasure, await verify(parts, entity, before))
    await parts.subjects.scrub()  # of the subject's name in the erasure as well
    return ended


async def verify(parts: Parts, entity: Entity, before: Before) -> dict[str, int]:
    """What is found of a subject, by copy, or by the way it was found; empty if nothing is."""
    found = await inventory(parts, entity)
    found["listing"] = await _listed(parts, entity)
    found["search"] = await _searched(parts, entity, before.texts)
    found["ids"] = found["history of ids"] = 0
    for some in copies.some_of(before.ids):
        found["ids"] += len(await parts.records.fetch(parts.project, some))
    for id_ in before.ids[:ERASURE_BATCH]:
        found["history of ids"] += len(await parts.records.history(parts.project, id_))
    return {name: count for name, count in found.items() if count}


async def unfinished(parts: Parts, before: float) -> Sequence[Erasure]:
    """Erasures of all projects that were begun before this time and are not at their end."""
    return await parts.directory.select(
        Erasure, Where("state", "RUNNING"), Where("started_at", before, "lte")
    )


async def all_done(parts: Parts) -> Sequence[Erasure]:
    """Every erasure of any project that is at its end."""
    return await parts.directory.select(Erasure, Where("state", "DONE"))


async def find(parts: Parts, erasure_id: str) -> Erasure:
    """An erasure of the project. Raises NotFoundError."""
    found = await parts.directory.select(
        Erasure, Where("project", parts.project), Where("id", erasure_id)
    )
    if not found:
        raise NotFoundError("There is no such erasure.", hint="List those of the project.")
    return found[0]


async def listed(parts: Parts, offset: int, size: int) -> Sequence[Erasure]:
    """The erasures of the project, the newest first."""
    return await parts.directory.select(
        Erasure, Where("project", parts.project), newest_first=True, offset=offset, size=size
    )


async def come_back(
    parts: Parts, erased: Iterable[tuple[str, float]]
) -> Sequence[tuple[Project, Entity]]:
    """Subjects of all projects that were erased and are there again, because an older backup was
    restored. `erased`: marks, and when each erasure began.

    A subject that is new since its erasure is not among them.
    """
    when: dict[str, float] = {}
    for mark, at in erased:
        when[mark] = max(at, when.get(mark, at))
    return [
        (project, entity)
        for project, entity, created_at in await parts.subjects.named(None)
        if created_at <= when.get(mark_of(parts.records.subjects_id, project, entity), -1.0)
    ]


async def _again(parts: Parts, erasure: Erasure) -> Erasure:
    """Take up an erasure that left something."""
    values: dict[str, Json] = {"state": "RUNNING", "remains": {}, "completed_at": None}
    await parts.directory.update(Erasure, Where("id", erasure.id), values=values)
    return replace(erasure, state="RUNNING", remains={}, completed_at=None)


async def _before(parts: Parts, entity: Entity) -> Before:
    ids = tuple(await parts.subjects.memory_ids(parts.project, entity))
    some = await parts.records.fetch(parts.project, ids[:_QUESTIONS])
    return Before(ids=ids, texts=tuple(memory.text for memory in some))


async def _memories(parts: Parts, entity: Entity, erasure: Erasure, told: OnCopy) -> None:
    """Memories, and what is held."""
    total, done = erasure.found.get("memories", 0), 0
    while True:
        op = RemoveMemories(
            filter=_of(entity), at=parts.clock.now(), erase_history=True, limit=ERASURE_BATCH
        )
        [gone] = await parts.records.commit(parts.project, [op])
        done += len(gone)
        told("memories", len(gone), total)
        if len(gone) < ERASURE_BATCH:
            return


async def _listed(parts: Parts, entity: Entity) -> int:
    view = View(now=parts.clock.now(), show_expired=True, listed_only=False)
    page = await parts.records.page(parts.project, Listing(filter=_of(entity), view=view, size=1))
    return page.total


async def _searched(parts: Parts, entity: Entity, texts: Sequence[str]) -> int:
    """How many hits its former texts have, by words alone: an embedder must not see them again."""
    hits = 0
    for text in texts:
        probe = Probe(
            entities=(entity,),
            filter=_of(entity),
            view=View(now=parts.clock.now(), show_expired=True, listed_only=False),
            query=analyze_query(text[:1_000], key=parts.content_key),
            embedding=None,
            limit=10,
        )
        hits += len((await parts.index.search(parts.project, probe)).hits)
    return hits


async def _end(parts: Parts, erasure: Erasure, remains: Mapping[str, int]) -> Erasure:
    """Note how it ended. Of two who carry it out at once, the first one's receipt counts."""
    now = parts.clock.now()
    values: dict[str, Json] = {"state": "FAILED", "remains": remains, "completed_at": now}
    if remains:
        _log.error("erasure %s: %d rows are left", erasure.id, sum(remains.values()))
    else:
        receipt = await signed(parts, _receipt(erasure, now))
        values |= {"state": "DONE", "subject": None, "receipt": receipt}
    running = (Where("id", erasure.id), Where("state", "RUNNING"))
    await parts.directory.update(Erasure, *running, values=values)
    found = await parts.directory.select(Erasure, Where("id", erasure.id))
    if not found:
        raise ConflictError("The erasure was taken away meanwhile.", hint="Begin it again.")
    return found[0]


def _receipt(erasure: Erasure, now: float) -> dict[str, Json]:
    return {
        "form": RECEIPT_FORM,
        "what": "erasure",
        "id": erasure.id,
        "project": erasure.project,
        "kind": erasure.kind,
        "mark": erasure.mark,
        "found": dict(erasure.found),
        "left": {},
        "checked": list(CHECKS),
        "kept": {name: one.why for name, one in PLACES.items() if one.fate == "kept"},
        "anonymised": {name: one.why for name, one in PLACES.items() if one.fate == "anonymised"},
        "started_at": iso(erasure.started_at),
        "completed_at": iso(now),
        "software": f"holdfast {holdfast.__version__}",
    }


def _of(entity: Entity) -> Filter:
    return Compare(f"{entity.kind}_id", "eq", entity.id)
