"""The learned part of ranking: one weight per signal and profile, and the calibration.

Made by `bench/tune_ranking.py`; change them there.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Weights(msgspec.Struct, frozen=True):
    """Weights of one profile.

    `signals`: weight by name; their weighted sum orders the rows. The best row has the log odds
    `intercept + evidence . core.rank.evidence_of(...)`; another row loses `slope` times what its
    sum falls short of the best.
    """

    signals: dict[str, float]
    slope: float
    evidence: tuple[float, float]
    intercept: float


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
    slope=0.35,
    evidence=(4.16, 6.81),
    intercept=-3.35,
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
    slope=0.35,
    evidence=(2.02, 2.61),
    intercept=-2.13,
)
"""Chats with an assistant: their long answers repeat what was asked, what the user said counts."""
