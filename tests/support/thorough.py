"""How long tests look: HOLDFAST_TEST_THOROUGH=1 for all there is, else what CI has time for."""

from __future__ import annotations

import os

THOROUGH = os.environ.get("HOLDFAST_TEST_THOROUGH", "") == "1"


def often(usually: int, thoroughly: int) -> int:
    """How many examples, kills or operations this run makes."""
    return thoroughly if THOROUGH else usually
