"""`kill -9` at any moment loses nothing acknowledged and corrupts nothing.

`HOLDFAST_KILLS=5000` makes the run longer; `python -m tests.crash.soak` goes on for hours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.backends.sqlite.migrate import REVISIONS
from tests.crash.book import LostError
from tests.crash.campaign import Campaign
from tests.crash.faults import FAULTS
from tests.crash.old_stores import old_store, shapes
from tests.crash.zygote import Zygote

KILLS_DEFAULT = 500
KILLS = int(os.environ.get("HOLDFAST_KILLS", KILLS_DEFAULT))
MIGRATION_SHARE = 0.2
SEED = 20261123
_FAULT_ROUNDS = 60
_SECONDS_PER_KILL = 2

pytestmark = [
    pytest.mark.crash,
    pytest.mark.slow,
    pytest.mark.timeout(300 + KILLS * _SECONDS_PER_KILL),
]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as running:
        yield running


def test_no_acknowledged_write_is_lost(zygote: Zygote, tmp_path: Path) -> None:
    campaign = Campaign(zygote, tmp_path, SEED)
    while campaign.tally["kills"] < KILLS * (1 - MIGRATION_SHARE):
        campaign.write_round()
    # the kills met what they were meant to meet
    assert campaign.tally["acknowledged"] > campaign.tally["kills"]
    assert campaign.tally["cut off, there"] > 0
    assert campaign.tally["cut off, absent"] > 0
    assert campaign.tally["kills"] > campaign.tally["opened"] > campaign.tally["kills"] // 2


def test_no_migration_is_left_half_done(zygote: Zygote, tmp_path: Path) -> None:
    old, tables = old_store(tmp_path / "old.db"), shapes(tmp_path)
    campaign = Campaign(zygote, tmp_path, SEED)
    while campaign.tally["kills"] < KILLS * MIGRATION_SHARE:
        campaign.migration_round(old, tables)
        campaign.write_round()
    if KILLS >= KILLS_DEFAULT:
        left = {revision for revision in tables if campaign.tally[f"left at {revision}"]}
        assert left == {REVISIONS[0], REVISIONS[-1]}, "a migration is whole or it is not"


_CAUGHT_AS = {
    "acknowledges before the commit": "missing|not found|search finds|otherwise|changed",
    "commits in the middle": ".",  # what is seen depends on where the kill falls
    "keeps the old vector": "vector of another text",
    "keeps deleted turns": "a turn without a memory",
    "keeps the old generation": "change log|entity|search finds",
    "overwrites pages": "integrity_check|cannot be read|CorruptError",
}
_BROKEN_FAULT = ("AttributeError", "NameError", "TypeError", "hangs")


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_the_killer_catches_a_planted_fault(zygote: Zygote, tmp_path: Path, fault: str) -> None:
    campaign = Campaign(zygote, tmp_path, SEED, fault)
    with pytest.raises(LostError, match=_CAUGHT_AS[fault]) as caught:
        _write(campaign, _FAULT_ROUNDS)
    assert not any(name in str(caught.value) for name in _BROKEN_FAULT)


def _write(campaign: Campaign, rounds: int) -> None:
    for _ in range(rounds):
        campaign.write_round()
