"""Random operations: every record store answers, step by step, what the reference answers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock
from holdfast.testing.machines import RecordsMachine
from holdfast.testing.replica import Store
from support.thorough import often

EXAMPLES, STEPS = often(12, 25), 25
# a counterexample is told as it was found: to shrink one can take longer than a test may
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


class SqliteMachine(RecordsMachine):
    """The machine on a file."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory()
        super().__init__()

    def make(self) -> Store:
        path = Path(self._folder.name) / "store.db"
        return SqliteRecords(path, ManualClock(), self.ids)

    def teardown(self) -> None:
        super().teardown()
        self._folder.cleanup()


def test_sqlite_answers_like_the_reference() -> None:
    run_state_machine_as_test(
        SqliteMachine,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, phases=PHASES),
    )


def test_the_reference_answers_like_itself() -> None:
    run_state_machine_as_test(
        RecordsMachine,
        settings=settings(max_examples=often(2, 5), stateful_step_count=STEPS, phases=PHASES),
    )
