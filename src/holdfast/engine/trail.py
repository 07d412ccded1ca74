"""The rows of the audit: listed, exported, verified, and pruned by rule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from holdfast.acts import doing
from holdfast.core.audit import Check, subject_mark, unmasked
from holdfast.core.audit_shapes import AuditQuery
from holdfast.directory import Where
from holdfast.engine.parts import Parts
from holdfast.errors import CorruptError
from holdfast.limits import AUDIT_BATCH_ROWS, AUDIT_NAMES_MAX, AUDIT_PAGE_ROWS
from holdfast.model import OnProgress, Project, Struct, unheard
from holdfast.ports.audit import Chain, Trail
from holdfast.trail import Anchor, AuditRow, Fault, Verdict

_AGAIN: int = 3
"""Times a chain is looked through anew because it was pruned meanwhile."""


class AuditPage(Struct, frozen=True, kw_only=True):
    """Some rows, and where the next ones begin."""

    rows: tuple[AuditRow, ...]
    cursor: int | None
    """Number of the last row, if there may be more."""


async def written(parts: Parts) -> Trail:
    """The audit, with what this process has still to write. Raises StoreError."""
    assert parts.trail is not None
    if parts.audit is not None:
        await parts.audit.flush()
    return parts.trail


async def listed(
    parts: Parts, query: AuditQuery, *, size: int, cursor: int | None, newest_first: bool
) -> AuditPage:
    """A page of the rows of a project."""
    trail = await written(parts)
    key = (await trail.keys())["store"]
    rows = await trail.rows(
        parts.project,
        *query.conditions(parts.project, key),
        after=0 if newest_first or cursor is None else cursor,
        upto=cursor - 1 if newest_first and cursor is not None else None,
        newest_first=newest_first,
        size=size,
    )
    names = await _names(parts, query, key)
    more = rows[-1].no if len(rows) == size else None
    return AuditPage(rows=tuple(unmasked(rows, names)), cursor=more)


async def _names(parts: Parts, query: AuditQuery, key: bytes) -> Mapping[str, str]:
    """Marks to names, for all who have memories and those the query names. An erased subject has
    no name here."""
    with doing(None):
        found, _ = await parts.records.entities(parts.project, 0, AUDIT_NAMES_MAX)
    named = [*query.names(), *((each.kind, each.id) for each in found)]
    return {subject_mark(key, parts.project, kind, name): name for kind, name in named}


async def exported(parts: Parts, query: AuditQuery) -> AsyncIterator[Sequence[AuditRow]]:
    """All rows of a project that there are now, in order, a page at a time."""
    trail = await written(parts)
    key = (await trail.keys())["store"]
    names = await _names(parts, query, key)
    conditions = query.conditions(parts.project, key)
    chains = await trail.chains(parts.project)
    last = chains[0].last_no if chains else 0

    async def pages() -> AsyncIterator[Sequence[AuditRow]]:
        after = 0
        while after < last:
            rows = await trail.rows(
                parts.project, *conditions, after=after, upto=last, size=AUDIT_PAGE_ROWS
            )
            if rows:
                yield unmasked(rows, names)
            if len(rows) < AUDIT_PAGE_ROWS:
                return
            after = rows[-1].no

    return pages()


async def heads(parts: Parts, project: Project | None) -> list[Anchor]:
    """The last rows of the chains of a project or of all, to be kept elsewhere."""
    trail = await written(parts)
    return [
        Anchor(chain.head.project, chain.head.no, chain.head.hash)
        for chain in await trail.chains(project)
        if chain.head.no
    ]


async def verify(
    parts: Parts, project: Project | None, anchors: Sequence[Anchor], told: OnProgress
) -> list[Verdict]:
    """Look through the chains of a project or of all."""
    trail = await written(parts)
    chains = await trail.chains(project)
    keys = await trail.keys()
    known = {chain.head.project for chain in chains}
    missing = dict.fromkeys(a.project for a in anchors if a.project not in known)
    verdicts = [_gone(name) for name in missing if project in (None, name)]
    total = sum(max(0, chain.head.no - chain.head.base_no) for chain in chains)
    done = 0
    told(0, total)
    for chain in chains:
        name = chain.head.project
        mine = [anchor for anchor in anchors if anchor.project == name]
        verdict = await _verify_one(trail, chain, keys, mine, _further(told, done, total))
        done += verdict.rows
        verdicts.append(verdict)
    for verdict in verdicts:
        if not verdict.is_good:
            parts.metrics.count("audit_failure", "broken")
    return verdicts


def _further(told: OnProgress, done: int, total: int) -> Callable[[int], None]:
    """Tells of rows that come on top of those that are done."""
    return lambda rows: told(done + rows, total)


async def _verify_one(
    trail: Trail,
    chain: Chain,
    keys: Mapping[str, bytes],
    anchors: Sequence[Anchor],
    told: Callable[[int], None],
) -> Verdict:
    for _ in range(_AGAIN):
        verdict = await _looked_through(trail, chain, keys, anchors, told)
        if verdict.is_good:
            return verdict
        now = await trail.chains(Project(chain.head.project))
        if not now or now[0].head.base_no == chain.head.base_no:
            return verdict
        chain = now[0]  # it was pruned meanwhile, so that rows were missing
    return verdict


async def _looked_through(
    trail: Trail,
    chain: Chain,
    keys: Mapping[str, bytes],
    anchors: Sequence[Anchor],
    told: Callable[[int], None],
) -> Verdict:
    head = chain.head
    check = Check(head, keys, anchors)
    fault = check.begin()
    while fault is None and check.no < head.no:
        rows = await trail.rows(
            Project(head.project), after=check.no, upto=head.no, size=AUDIT_PAGE_ROWS
        )
        if not rows:
            break
        fault = await asyncio.to_thread(check.page, rows)
        told(check.rows)
    if fault is None:
        fault = check.end()
    if fault is None and chain.last_no > head.no:
        fault = check.beyond()
    return Verdict(
        project=head.project,
        rows=check.rows,
        first_no=head.base_no + 1,
        last_no=head.no,
        last_hash=head.hash,
        keyed=head.keyed,
        fault=fault,
    )


def _gone(project: str) -> Verdict:
    """A chain that was there once."""
    told = "The whole chain is missing."
    fault = Fault(project=project, no=1, kind="removed", told=told)
    return Verdict(
        project=project, rows=0, first_no=1, last_no=0, last_hash="", keyed="", fault=fault
    )


async def prune(parts: Parts, project: Project | None, before: float, told: OnProgress) -> int:
    """Delete the rows of before a time, of a project or of all; how many.

    The last row of a chain stays. Raises CorruptError for a chain that was meddled with: what
    shows it is not deleted.
    """
    trail = await written(parts)
    bad = [one.fault for one in await verify(parts, project, (), unheard) if one.fault is not None]
    if bad:
        raise CorruptError(
            f"The audit of {bad[0].project} was meddled with: {bad[0].told}",
            hint="Nothing was pruned; see `audit verify`.",
        )
    ends = [(chain, await _end(trail, chain, before)) for chain in await trail.chains(project)]
    total = sum(max(0, end - chain.head.base_no) for chain, end in ends)
    done = 0
    told(0, total)
    for chain, end in ends:
        while count := await trail.prune(Project(chain.head.project), end, AUDIT_BATCH_ROWS):
            done += count
            told(done, total)
    return done


async def _end(trail: Trail, chain: Chain, before: float) -> int:
    """The number of the last row that comes before all that are to stay."""
    kept = await trail.rows(Project(chain.head.project), Where("at", before, "gt"), size=1)
    last = kept[0].no if kept else chain.head.no
    return min(last, chain.head.no) - 1
