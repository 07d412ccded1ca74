"""The chain of the audit: how rows are linked, and what is wrong with one that was meddled with.

A row's hash is HMAC-SHA256 of its fields, its number and the hash of the row before it, by a key of
the deployment. The head tells the last number and hash, and where the chain begins since rows were
pruned, with a MAC of its own: rows that are missing at either end are missed.

Source: Schneier, Kelsey, "Secure Audit Logs to Support Computer Forensics" (1999), without the
evolution of keys.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final

import msgspec
from msgspec.structs import replace

from holdfast.acts import ANYBODY, Act, Actor, Ids
from holdfast.directory import Held
from holdfast.errors import AccessError, AuthenticationError, HoldfastError, RateLimitError
from holdfast.filters import Compare, Cover, Filter, entity_choices
from holdfast.filters.tree import And, Or
from holdfast.limits import AUDIT_NEIGHBOURS, AUDIT_SUBJECTS_MAX
from holdfast.model import ANY, ENTITY_KINDS, Json, Memory, Scope
from holdfast.ports import (
    EditMemory,
    FinishJob,
    Op,
    PutJob,
    PutMemory,
    PutRows,
    PutTurns,
    RemoveMemories,
    Reset,
    TakeRow,
)
from holdfast.trail import Anchor, AuditRow, Fault, FaultKind, Head, Outcome

_VERSION: Final = 1
_OWN: Final = frozenset({"no", "keyed", "previous", "hash"})
_told_by: Final = attrgetter(*(name for name in AuditRow.__struct_fields__ if name not in _OWN))

_encode = msgspec.msgpack.Encoder().encode  # tells texts from bytes, whole numbers from others


def mac_of_row(key: bytes, row: AuditRow) -> str:
    """The hash of a row with its number and what it is linked to, hex."""
    told = ["row", _VERSION, row.no, row.keyed, row.previous, *_told_by(row)]
    return hmac.digest(key, _encode(told), "sha256").hex()


def mac_of_head(key: bytes, head: Head) -> str:
    """The MAC of a head, hex."""
    told = [
        "head", _VERSION, head.project, head.no, head.hash, head.base_no, head.base_hash, head.keyed
    ]  # fmt: skip
    return hmac.digest(key, _encode(told), "sha256").hex()


def signed(key: bytes, keyed: str, head: Head) -> Head:
    """The head with its MAC."""
    head = replace(head, keyed=keyed)
    return replace(head, mac=mac_of_head(key, head))


def linked(
    key: bytes, keyed: str, head: Head, rows: Iterable[AuditRow]
) -> tuple[list[AuditRow], Head]:
    """New rows behind the end of a chain, and its new end."""
    done: list[AuditRow] = []
    no, last = head.no, head.hash
    for row in rows:
        no += 1
        behind = replace(row, no=no, keyed=keyed, previous=last)
        last = mac_of_row(key, behind)
        done.append(replace(behind, hash=last))
    return done, signed(key, keyed, replace(head, no=no, hash=last))


def subject_mark(key: bytes, project: str, kind: str, name: str) -> str:
    """By what the audit knows a subject without naming it: "~" and 32 hex digits.

    Keyed with a secret of the store, so that whoever has the store can try names, others cannot:
    what is erased is not named here either, and no row has to be changed for that.
    """
    said = _encode(["mark", project, kind, name])
    return f"~{hmac.digest(key, said, 'sha256')[:16].hex()}"


def masked(key: bytes, rows: Iterable[AuditRow]) -> list[AuditRow]:
    """The rows with marks in place of the ids of those they are about; "*" stays."""
    done = []
    for row in rows:
        names = (row.user_id, row.agent_id, row.app_id, row.run_id)
        marks = {
            f"{kind}_id": subject_mark(key, row.project, kind, name)
            for kind, name in zip(ENTITY_KINDS, names, strict=True)
            if name is not None and name != ANY
        }
        done.append(replace(row, **marks) if marks else row)
    return done


def unmasked(rows: Iterable[AuditRow], names: Mapping[str, str]) -> list[AuditRow]:
    """The rows with the names of those that are known; of others the mark stays."""
    done = []
    for row in rows:
        known = {
            field: names[mark]
            for field in (f"{kind}_id" for kind in ENTITY_KINDS)
            if (mark := getattr(row, field)) in names
        }
        done.append(replace(row, **known) if known else row)
    return done


def counted(rows: Iterable[AuditRow], count: int | None) -> list[AuditRow]:
    """The rows; those without a count have this one."""
    return [row if row.count is not None else replace(row, count=count) for row in rows]


def empty(project: str) -> Head:
    """The head of a chain without rows."""
    return Head(project=project, no=0, hash="")


# ---------------------------------------------------------------------------------- verification


class Check:
    """Looks at the rows of a chain in order, and says what is wrong first."""

    def __init__(
        self, head: Head, keys: Mapping[str, bytes], anchors: Sequence[Anchor] = ()
    ) -> None:
        """`keys`: by what they are called in rows; `anchors`: of this project."""
        self._head = head
        self._keys = keys
        self._anchors = {anchor.no: anchor for anchor in anchors}
        self._keyed = ""
        self.no = head.base_no
        self.hash = head.base_hash
        self.rows = 0

    def begin(self) -> Fault | None:
        """What is wrong with the head itself."""
        head = self._head
        key = self._keys.get(head.keyed)
        if "sealed" in self._keys and head.keyed == "store":
            return self._fault(head.no, "key", "The chain is not keyed with the keyring's key.")
        if key is None or not _same(mac_of_head(key, head), head.mac):
            return self._fault(head.no, "head", "The end of the chain was changed or put back.")
        for anchor in self._anchors.values():
            if anchor.no > head.no:
                told = f"Row {anchor.no} was there once; the chain ends at {head.no}."
                return self._fault(head.no + 1, "removed", told)
            if anchor.no < head.base_no:
                told = f"Row {anchor.no} was pruned: it cannot be compared any more."
                return self._fault(anchor.no, "anchor", told)
        return self._compared(self.no, self.hash)

    def page(self, rows: Sequence[AuditRow]) -> Fault | None:
        """What is wrong first with the next rows."""
        for place, row in enumerate(rows, 1):
            fault = self.next(row, rows[place : place + AUDIT_NEIGHBOURS])
            if fault is not None:
                return fault
        return None

    def next(self, row: AuditRow, ahead: Sequence[AuditRow]) -> Fault | None:
        """What is wrong with the next row; `ahead`: some that follow."""
        fault = self._linked(row, ahead) or self._compared(row.no, row.hash)
        if fault is None:
            self.no, self.hash, self._keyed = row.no, row.hash, row.keyed
            self.rows += 1
        return fault

    def end(self) -> Fault | None:
        """What is wrong once there are no more rows up to the head's number."""
        if self.no < self._head.no:
            return self._fault(self.no + 1, "removed", f"Row {self.no + 1} is missing.")
        if not _same(self.hash, self._head.hash):
            return self._fault(self.no, "head", "The end of the chain is not its last row.")
        return None

    def beyond(self) -> Fault:
        """There are rows behind the head."""
        no = self._head.no + 1
        return self._fault(no, "inserted", f"Row {no} is not a part of the chain.")

    def _linked(self, row: AuditRow, ahead: Sequence[AuditRow]) -> Fault | None:
        wanted = self.no + 1
        if row.no != wanted:
            return self._fault(wanted, "removed", f"Row {wanted} is missing.")
        if self._is_good_as(row, wanted):
            return self._of_key(row)
        return self._meddled(row, ahead)

    def _meddled(self, row: AuditRow, ahead: Sequence[AuditRow]) -> Fault:
        """What became of a row that is not what it should be."""
        no = row.no
        if self._is_good_as(row, no, row.previous):
            return self._fault(no, "swapped", f"Row {no} does not follow the row before it.")
        steps = range(1, AUDIT_NEIGHBOURS + 1)
        if any(self._is_good_as(one, no) for one in ahead):
            told = f"Row {no} is not a part of the chain."
            is_swap = any(self._is_good_as(row, no + step, row.previous) for step in steps)
            if is_swap:
                return self._fault(no, "swapped", f"Row {no} stands in another one's place.")
            return self._fault(no, "inserted", told)
        if any(self._is_good_as(row, no + step, row.previous) for step in steps):
            return self._fault(no, "removed", f"Row {no} is missing; others took its number.")
        if any(self._is_good_as(row, no - step, row.previous) for step in steps):
            return self._fault(no, "swapped", f"Row {no} stands in another one's place.")
        return self._fault(no, "changed", f"Row {no} was changed.")

    def _is_good_as(self, row: AuditRow, no: int, previous: str | None = None) -> bool:
        """Whether a row is what it was written as, with this number behind that row."""
        behind = self.hash if previous is None else previous
        key = self._keys.get(row.keyed)
        whole = replace(row, no=no, previous=behind)
        return (
            key is not None
            and (previous is not None or row.previous == behind)
            and row.project == self._head.project
            and _same(mac_of_row(key, whole), row.hash)
        )

    def _of_key(self, row: AuditRow) -> Fault | None:
        if self._keyed == "sealed" and row.keyed != "sealed":
            told = f"Row {row.no} is not keyed with the keyring's key, though earlier ones are."
            return self._fault(row.no, "key", told)
        return None

    def _compared(self, no: int, hash_: str) -> Fault | None:
        anchor = self._anchors.get(no)
        if anchor is None or _same(anchor.hash, hash_):
            return None
        return self._fault(no, "anchor", f"Row {no} is another one than was noted elsewhere.")

    def _fault(self, no: int, kind: FaultKind, told: str) -> Fault:
        return Fault(project=self._head.project, no=no, kind=kind, told=told)


def _same(one: object, other: object) -> bool:
    """Whether two hashes are the same; a meddled one may be anything."""
    return hmac.compare_digest(str(one).encode(), str(other).encode())


# ---------------------------------------------------------------------------------- what rows tell


def ids_of(scope: Scope) -> Ids:
    """A scope as the ids of an act."""
    return (scope.user_id, scope.agent_id, scope.app_id, scope.run_id)


def named_by(tree: Filter) -> list[Ids]:
    """Whose memories a filter names, in as few rows as tell each of them."""
    return named_in(entity_choices(tree))


def named_in(covers: Iterable[Cover]) -> list[Ids]:
    """The entities of covers in as few rows as tell each: the n-th of each kind in the n-th."""
    entities = dict.fromkeys(entity for cover in covers for entity in cover)
    by_kind = {
        kind: [entity.id for entity in entities if entity.kind == kind] for kind in ENTITY_KINDS
    }
    most = max(map(len, by_kind.values()))
    if most > AUDIT_SUBJECTS_MAX:
        user, agent, app, run = ("*" if by_kind[kind] else None for kind in ENTITY_KINDS)
        return [(user, agent, app, run)]
    rows = []
    for place in range(most):
        user, agent, app, run = (
            ids[place] if place < len(ids) else None for ids in by_kind.values()
        )
        rows.append((user, agent, app, run))
    return rows


def subjects_of(ops: Sequence[Op]) -> list[Ids]:
    """Whose memories operations write, as far as they tell."""
    found: dict[Ids, None] = {}
    for op in ops:
        match op:
            case PutTurns():
                found[ids_of(op.scope)] = None
            case PutMemory():
                found[ids_of(op.memory.scope)] = None
            case PutRows():
                rows = (row for row in op.rows if isinstance(row, Held))
                found |= dict.fromkeys(ids_of(row.scope) for row in rows)
            case RemoveMemories():
                found |= dict.fromkeys(named_by(op.filter))
            case Reset():
                found[ANYBODY] = None
    return list(found)


def memories_named(ops: Sequence[Op]) -> list[str]:
    """The ids of the memories that operations change or remove, as far as they tell."""
    ids: list[str] = []
    for op in ops:
        match op:
            case EditMemory():
                ids.append(op.memory_id)
            case RemoveMemories():
                ids += _ids_in(op.filter)
    return ids


def _ids_in(tree: Filter) -> list[str]:
    match tree:
        case Compare("id", "eq", value):
            return [value]
        case Compare("id", "in", value):
            return list(value)
        case And(children) | Or(children):
            return [id_ for child in children for id_ in _ids_in(child)]
    return []


def target_of(ops: Sequence[Op]) -> str | None:
    """The one thing that operations are about: a memory, or the job behind an add."""
    ids = memories_named(ops)
    if len(ids) == 1:
        return ids[0]
    puts = [op.memory.id for op in ops if isinstance(op, PutMemory)]
    jobs = [op.job.id for op in ops if isinstance(op, PutJob)]
    if jobs:
        return jobs[0]
    rows = [row for op in ops if isinstance(op, PutRows) for row in op.rows]
    held = [row.id for row in rows if isinstance(row, Held)]
    if held:
        return held[0]
    return puts[0] if len(puts) == 1 and not ids else None


def changed(ops: Sequence[Op], results: Sequence[Json]) -> int:
    """How many memories operations put, edited or removed; else how much of what is held they take
    away."""
    count = taken = 0
    for op, result in zip(ops, results, strict=True):
        match op:
            case PutMemory():
                count += 1
            case EditMemory():
                count += result is not None
            case RemoveMemories():
                count += len(result)
            case TakeRow():
                taken += 1
    return count or taken


def outcome_told(ops: Sequence[Op]) -> tuple[Outcome, str | None]:
    """How what operations tell of went: a job may end with nothing done."""
    for op in ops:
        if isinstance(op, FinishJob) and op.state != "SUCCEEDED" and op.error_code is not None:
            return ("ok", None) if op.owner is None else ("failed", op.error_code)
    return "ok", None


def owners(memories: Sequence[Memory]) -> list[Ids]:
    """Whose these memories are."""
    return list(dict.fromkeys(ids_of(memory.scope) for memory in memories))


_NOBODY: Final[Ids] = (None, None, None, None)
_ID: Final = re.compile(r"[\w.:@+=/\- ]{1,128}")


def told_id(value: object) -> str | None:
    """An id as the audit keeps it; None for what does not look like one, and may be any text."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def rows_of(
    act: Act, project: str, at: float, outcome: Outcome = "ok", code: str | None = None
) -> tuple[AuditRow, ...]:
    """The rows of an act: one for each subject it is about, or one in all."""
    actor = act.actor
    return tuple(
        AuditRow(
            project=project,
            at=at,
            action=act.action,
            sort=act.sort,
            outcome=outcome,
            code=code,
            principal=actor.principal,
            principal_kind=actor.kind,
            via=actor.via,
            address=actor.address,
            request_id=actor.request_id,
            user_id=user_id,
            agent_id=agent_id,
            app_id=app_id,
            run_id=run_id,
            target=act.target,
            count=act.count,
        )
        for user_id, agent_id, app_id, run_id in act.subjects or (_NOBODY,)
    )


def restored_row(project: str, at: float) -> AuditRow:
    """The mark that a restore leaves in a chain, which is older than what was done meanwhile."""
    act = Act("backups.restored", "admin", Actor("", "nobody", "library"))
    return rows_of(act, project, at)[0]


def found_in(answer: Json) -> int:
    """How much an answer tells of."""
    if isinstance(answer, dict):
        count = answer.get("count")
        results = answer.get("results")
        if isinstance(count, int):
            return count
        return len(results) if isinstance(results, list) else 1
    if isinstance(answer, list | tuple):
        return len(answer)
    return answer if type(answer) is int else int(answer is not None)


_DENIALS: Final = (AccessError, AuthenticationError, RateLimitError)


def outcome_of(error: BaseException) -> tuple[Outcome, str]:
    """The outcome of an act that ended with an error, and the error's code."""
    if isinstance(error, HoldfastError):
        return "denied" if isinstance(error, _DENIALS) else "failed", error.code
    if isinstance(error, Exception):
        return "failed", "ERROR"
    return "failed", "CANCELLED"
