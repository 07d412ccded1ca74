"""The learned part of ranking: one weight per signal and profile, and the calibration.

Made by `bench/tune_ranking.py`; change them there.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Weights(msgspec.Struct, frozen=True):
    """Weights of one profile. `signals`: by name, absent means 0.

    A row's score is `1 / (1 + exp(-(slope * sum + intercept)))`.
    """

    signals: dict[str, float]
    slope: float
    intercept: float


PEOPLE: Final = Weights(
    signals={
        "semantic": 3.0,
        "keyword": 6.0,
        "context": 2.0,
        "session": 1.0,
        "time": 0.5,
        "date": 1.0,
        "question": -0.7,
        "speaker": 0.5,
        "length": 0.3,
        "number": 0.2,
    },
    slope=1.0,
    intercept=-5.0,
)
"""Conversations between people: no row has the role of an assistant."""

ASSISTANT: Final = Weights(signals={**PEOPLE.signals, "user": 2.0}, slope=1.0, intercept=-5.0)
"""Chats with an assistant."""
