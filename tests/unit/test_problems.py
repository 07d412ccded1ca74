"""What is answered for a store that cannot be used: come again, and nothing of where it is."""

from __future__ import annotations

import pytest

from holdfast.errors import StoreError, StoreReadOnlyError, StoreUnavailableError
from holdfast.server.problems import answer


@pytest.mark.parametrize("kind", [StoreUnavailableError, StoreReadOnlyError])
def test_a_store_that_may_come_back_is_503(kind: type[StoreError]) -> None:
    """A standby that answers while a fail-over is under way takes no writes."""
    told = answer(kind("/secret/place is a standby.", hint="Retry."), "r1")
    assert told.status_code == 503
    assert told.headers["retry-after"] == "1"
    assert b"secret" not in told.body


def test_another_failure_of_the_store_is_the_servers() -> None:
    told = answer(StoreError("/secret/place is broken.", hint="Look at /secret."), "r1")
    assert told.status_code == 500
    assert b"secret" not in told.body
