"""An index on a vector database answers as one that reads everything, whatever its engine does."""

from __future__ import annotations

import dataclasses
from itertools import product
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from holdfast.backends.index import candidates as candidate_index
from holdfast.backends.memory.vectors import Engine
from holdfast.backends.sql import changes
from holdfast.engine.parts import Parts
from property.test_index import _SETTINGS, IndexMachine
from support.candidates import Restless, Rig
from support.embedded import DIMENSIONS, HashEmbedder
from support.thorough import often


class CandidateMachine(IndexMachine):
    """Two processes on one file, each with an index on one engine; the first of them feeds it."""

    turns: tuple[str, ...] = ("fed",)
    exact_rows = 0

    async def _open(self, seed: int) -> Parts:
        parts = await super()._open(seed)
        space = HashEmbedder().space
        self.engine = getattr(self, "engine", None) or Engine()
        bounds = candidate_index.Bounds(exact_rows=self.exact_rows)
        rig = Rig(
            parts.records,
            DIMENSIONS,
            engine=self.engine,
            bounds=bounds,
            clock=self.clock,
            space=space,
        )
        return dataclasses.replace(parts, index=Restless(rig, *self.turns))


class Fed(CandidateMachine):
    pass


class Behind(CandidateMachine):
    turns = ("fed", "late", "late", "late")


class Wiped(CandidateMachine):
    turns = ("fed", "wiped", "late")


class Away(CandidateMachine):
    turns = ("fed", "failing", "away", "late")


class Small(CandidateMachine):
    """Some entities have more than that, and some grow beyond it or shrink below."""

    turns = ("fed", "late")
    exact_rows = 4


@pytest.mark.parametrize(
    ("machine", "forgetful"),
    [*product([Fed, Behind, Wiped, Away], [False, True]), (Small, False)],
)
def test_candidates_are_as_good_as_everything(
    machine: type[CandidateMachine], forgetful: bool
) -> None:
    """`forgetful`: the change log is cut so often that the engine's feeder falls behind it."""
    kept, every = (4, 3) if forgetful else (200_000, 1_000)
    with (
        patch.multiple(changes, OUTBOX_ROWS_KEPT=kept, _PRUNE_EVERY=every),
        # entities are small here: what is found is to be found by the engine and by what changed
        patch.object(candidate_index, "_LATEST", 1),
    ):
        run_state_machine_as_test(machine, settings=settings(_SETTINGS, max_examples=often(3, 6)))
