"""The learned part of ranking: one weight per signal and profile, and the calibration.

Made by `bench/tune_ranking.py` and `bench/calibrate_ranking.py`; change them there.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Weights(msgspec.Struct, frozen=True):
    """Weights of one profile.

    `signals`: weight by name; their weighted sum orders the rows. `calibration`: weights of
    `core.rank.calibration_inputs`; the weighted sum is the log odds that a row is an answer.
    """

    signals: dict[str, float]
    calibration: tuple[float, float, float, float, float, float]


PEOPLE: Final = Weights(
    signals={
        "semantic": 1.5,
        "semantic_session": 2.26,
        "keyword": 6.67,
        "context": 16.01,
        "session": 1.62,
        "time": 2.19,
        "date": 4.23,
        "question": -0.91,
        "reply": 3.4,
        "speaker": 1.54,
        "length": 3.09,
        "number": 1.29,
        "names": 0.73,
        "user": 0.96,
    },
    calibration=(-0.43, 4.81, 7.22, 1.65, 0.75, -0.4),
)
"""Conversations between people: no row has the role of an assistant."""

ASSISTANT: Final = Weights(
    signals={
        "semantic": 2.97,
        "semantic_session": 2.31,
        "keyword": 5.62,
        "context": 3.57,
        "session": 1.24,
        "time": 0.54,
        "date": 1.41,
        "question": -0.08,
        "speaker": 0.51,
        "length": -1.79,
        "number": 1.37,
        "user": 2.87,
    },
    calibration=(-0.17, 2.93, 2.35, 2.76, 0.56, -0.47),
)
"""Chats with an assistant: their long answers repeat what was asked, what the user said counts."""
