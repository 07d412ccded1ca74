"""Whatever is done to the rows of a chain, by whoever lacks the key, is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.admin import AsyncAdmin
from holdfast.core.audit import Check, empty, linked, mac_of_row, signed
from holdfast.testing.contracts.audit import WHOLE, told
from holdfast.trail import Anchor, AuditRow, Fault, Head

KEY = b"k" * 16
KEYS = {"store": KEY}
FIELDS = [name for name in AuditRow.__struct_fields__ if name != "project"]
ROWS = 12


def chain(count: int = ROWS) -> tuple[list[AuditRow], Head]:
    rows = [replace(WHOLE, target=f"m{n}", count=n) for n in range(count)]
    return linked(KEY, "store", empty("red"), rows)


def verified(rows: list[Any], head: Head, *anchors: Anchor) -> Fault | None:
    """As `engine.trail` does it: rows by number, up to the head's."""
    check = Check(head, KEYS, anchors)
    stored = sorted((row for row in rows if row.project == "red"), key=lambda row: row.no)
    fault = check.begin() or check.page([row for row in stored if row.no <= head.no])
    fault = fault or check.end()
    beyond = max((row.no for row in stored), default=0) > head.no
    return fault or (check.beyond() if beyond else None)


PLACES = st.integers(0, ROWS - 1)
VALUES = st.one_of(
    st.none(), st.text(max_size=5), st.integers(-3, 20), st.floats(allow_nan=False), st.binary()
)


def test_a_chain_that_nobody_touched_is_good() -> None:
    assert verified(*chain()) is None
    assert verified(*chain(1)) is None
    assert verified([], signed(KEY, "store", empty("red"))) is None


@given(PLACES, st.sampled_from([f for f in FIELDS if f != "no"]), VALUES)
def test_a_changed_column_is_found(place: int, field: str, value: Any) -> None:
    rows, head = chain()
    if type(value) is type(getattr(rows[place], field)) and value == getattr(rows[place], field):
        return
    rows[place] = replace(rows[place], **{field: value})
    fault = verified(rows, head)
    assert fault is not None
    if field not in ("hash", "previous", "keyed"):
        assert (fault.kind, fault.no) == ("changed", place + 1)


@given(st.sets(PLACES, min_size=1), st.booleans())
def test_removed_rows_are_found(places: set[int], renumbered: bool) -> None:
    rows, head = chain()
    left = [row for place, row in enumerate(rows) if place not in places]
    if renumbered:
        left = [replace(row, no=no) for no, row in enumerate(left, 1)]
    fault = verified(left, head)
    assert fault is not None
    assert (fault.kind, fault.no) == ("removed", min(places) + 1)


@given(PLACES, PLACES)
def test_swapped_rows_are_found(one: int, other: int) -> None:
    rows, head = chain()
    if one == other:
        return
    rows[one], rows[other] = (
        replace(rows[other], no=one + 1),
        replace(rows[one], no=other + 1),
    )
    fault = verified(rows, head)
    assert fault is not None
    assert (fault.kind, fault.no) == ("swapped", min(one, other) + 1)


@given(st.permutations(range(ROWS)))
def test_any_other_order_is_found(order: list[int]) -> None:
    rows, head = chain()
    moved = [replace(rows[place], no=no) for no, place in enumerate(order, 1)]
    assert (verified(moved, head) is None) == (order == [*range(ROWS)])


@given(st.integers(0, ROWS), PLACES, st.booleans())
def test_inserted_rows_are_found(place: int, copied: int, forged: bool) -> None:
    rows, head = chain()
    new = rows[copied]
    if forged:
        new = replace(new, principal="somebody else")
    more = [*rows[:place], new, *rows[place:]]
    fault = verified([replace(row, no=no) for no, row in enumerate(more, 1)], head)
    assert fault is not None
    # a copy of the row that stands there anyway comes to light behind it
    assert fault.no in (place + 1, place + 2)
    # before the last row, nothing is left within the chain to tell it from a change
    assert fault.kind in ("inserted", "swapped", *(["changed"] if place == ROWS - 1 else []))


@given(st.sampled_from(Head.__struct_fields__), VALUES)
def test_a_changed_end_is_found(field: str, value: Any) -> None:
    rows, head = chain()
    if type(value) is type(getattr(head, field)) and value == getattr(head, field):
        return
    if field == "project" or (field in ("no", "base_no") and type(value) is not int):
        return  # the database holds whole numbers there, and looks the project up
    assert verified(rows, replace(head, **{field: value})) is not None


@given(st.integers(1, ROWS - 1))
def test_an_older_end_that_was_put_back_is_found_by_an_anchor(no: int) -> None:
    rows, head = chain()
    older, old_head = chain(no)
    assert verified(older, old_head) is None, "a whole older state: nothing in it tells"
    anchor = Anchor("red", head.no, head.hash)
    fault = verified(older, old_head, anchor)
    assert fault is not None
    assert (fault.kind, fault.no) == ("removed", no + 1)
    assert verified(rows, head, anchor) is None


@given(st.integers(1, ROWS))
def test_a_chain_that_was_rewritten_with_the_key_is_found_by_an_anchor(no: int) -> None:
    rows, _ = chain()
    noted = rows[no - 1]
    forged = [replace(row, principal="nobody") for row in rows]
    again, head = linked(KEY, "store", empty("red"), forged)
    assert verified(again, head) is None
    fault = verified(again, head, Anchor("red", noted.no, noted.hash))
    assert fault is not None
    assert (fault.kind, fault.no) == ("anchor", no)


def test_rows_of_a_plain_chain_behind_sealed_ones_are_found() -> None:
    """Whoever reads the store's own secret cannot go on with a chain that the keyring keys."""
    keys = {"store": KEY, "sealed": b"s" * 16}
    rows, head = linked(keys["sealed"], "sealed", empty("red"), [told(), told()])
    more, end = linked(KEY, "store", head, [told()])
    check = Check(end, keys)
    fault = check.begin()
    assert fault is not None
    assert fault.kind == "key"
    end = signed(keys["sealed"], "sealed", end)
    check = Check(end, keys)
    fault = check.begin() or check.page([*rows, *more])
    assert fault is not None
    assert (fault.kind, fault.no) == ("key", 3)


def test_a_chain_may_become_sealed() -> None:
    keys = {"store": KEY, "sealed": b"s" * 16}
    rows, head = linked(KEY, "store", empty("red"), [told(), told()])
    more, end = linked(keys["sealed"], "sealed", head, [told()])
    check = Check(end, keys)
    assert (check.begin() or check.page([*rows, *more]) or check.end()) is None


def test_the_hash_depends_on_every_field() -> None:
    [row], _ = linked(KEY, "store", empty("red"), [WHOLE])
    changed = {name: "x" if getattr(row, name) != "x" else "y" for name in FIELDS if name != "hash"}
    hashes = {mac_of_row(KEY, replace(row, **{name: value})) for name, value in changed.items()}
    hashes.add(mac_of_row(KEY, replace(row, project="blue")))
    assert len(hashes | {row.hash}) == len(changed) + 2


# --------------------------------------------------------------------- in a real database


@pytest.fixture
def tampered(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "holdfast.db", isolation_level=None)
    yield connection
    connection.close()


ATTACKS = {
    "UPDATE audit SET principal = 'x' WHERE no = 3": (3, "changed"),
    "UPDATE audit SET count = 'many' WHERE no = 3": (3, "changed"),
    "UPDATE audit SET at = at + 0.001 WHERE no = 3": (3, "changed"),
    "UPDATE audit SET user_id = NULL WHERE no = 3": (3, "changed"),
    "UPDATE audit SET no = 'z' WHERE no = 3": (3, "removed"),
    "UPDATE audit SET no = 99 WHERE no = 3": (3, "removed"),
    "UPDATE audit SET project = 'other' WHERE no = 3": (3, "removed"),
    "DELETE FROM audit WHERE no = 1": (1, "removed"),
    "DELETE FROM audit WHERE no = (SELECT max(no) FROM audit)": (6, "removed"),
    "DELETE FROM audit": (1, "removed"),
    "DELETE FROM audit_heads": (0, "head"),
    "UPDATE audit_heads SET base_no = 2, base_hash = (SELECT hash FROM audit WHERE no = 2)": (
        6, "head"
    ),
    "INSERT INTO audit SELECT * FROM (SELECT project, 7 AS no, at, action, sort, outcome, code, "
    "principal, principal_kind, via, address, request_id, user_id, agent_id, app_id, run_id, "
    "target, count, keyed, previous, hash FROM audit WHERE no = 6)": (7, "inserted"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
async def test_meddling_with_the_database_is_found(
    attack: str, tmp_path: Path, tampered: sqlite3.Connection
) -> None:
    config = {"path": str(tmp_path), "audit": "writes"}
    async with AsyncAdmin(config) as admin:
        for number in range(6):
            await admin.memory().add(f"tea {number}", user_id="ann", infer=False)
        [before] = await admin.audit.verify()
        assert (before.is_good, before.rows) == (True, 6)
        tampered.execute(attack)
        verdicts = {one.project: one for one in await admin.audit.verify()}
        fault = verdicts["default"].fault
        assert fault is not None
        assert (fault.no, fault.kind) == ATTACKS[attack]
        assert set(verdicts) <= {"default", "other"}
        assert all(not one.is_good for one in verdicts.values())


async def test_rows_that_trade_places_in_the_database_are_found(
    tmp_path: Path, tampered: sqlite3.Connection
) -> None:
    async with AsyncAdmin({"path": str(tmp_path), "audit": "writes"}) as admin:
        for number in range(6):
            await admin.memory().add(f"tea {number}", user_id="ann", infer=False)
        tampered.execute("UPDATE audit SET no = -1 WHERE no = 2")
        tampered.execute("UPDATE audit SET no = 2 WHERE no = 5")
        tampered.execute("UPDATE audit SET no = 5 WHERE no = -1")
        [verdict] = await admin.audit.verify()
        assert verdict.fault is not None
        assert (verdict.fault.no, verdict.fault.kind) == (2, "swapped")
