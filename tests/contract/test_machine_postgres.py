"""Random operations: Postgres answers, step by step, what the reference answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from holdfast.testing.machines import RecordsMachine
from holdfast.testing.replica import Store
from support import postgres
from support.thorough import often

EXAMPLES, STEPS = int(os.environ.get("HOLDFAST_POSTGRES_EXAMPLES", often(2, 10))), 10
"""Each step asks a few hundred questions; more examples by the environment."""
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@pytest.mark.parametrize("version", postgres.VERSIONS)
def test_postgres_answers_like_the_reference(version: int) -> None:
    _compare(lambda: postgres.database(version))


def test_tables_divided_by_project_answer_like_the_reference() -> None:
    _compare(postgres.partitioned)


def _compare(database: Callable[[], AbstractContextManager[str]]) -> None:
    class Machine(RecordsMachine):
        def __init__(self) -> None:
            self._databases = ExitStack()
            self._url = self._databases.enter_context(database())
            super().__init__()

        def make(self) -> Store:
            return postgres.records(self._url, ids=self.ids)

        def teardown(self) -> None:
            super().teardown()
            self._databases.close()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, phases=PHASES, deadline=None
        ),
    )
