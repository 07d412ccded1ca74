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
        "semantic": 1.86,
        "semantic_session": 2.08,
        "keyword": 6.31,
        "context": 15.47,
        "session": 1.59,
        "time": 2.26,
        "date": 4.18,
        "question": -0.9,
        "reply": 3.39,
        "speaker": 1.55,
        "length": 2.72,
        "number": 1.37,
        "names": 0.72,
        "user": 1.2,
    },
    calibration=(-0.39, 4.94, 7.47, 1.25, 0.75, -0.39),
)
"""Conversations between people: no row has the role of an assistant."""

ASSISTANT: Final = Weights(
    signals={
        "semantic": 2.57,
        "semantic_session": 2.17,
        "keyword": 5.44,
        "context": 3.75,
        "session": 1.23,
        "time": 0.56,
        "date": 1.39,
        "question": -0.07,
        "reply": -0.29,
        "speaker": 0.52,
        "length": -2.56,
        "number": 1.39,
        "user": 3.59,
        "overview": 4.0,
    },
    calibration=(-0.09, 3.44, 3.28, 2.57, 0.65, -0.5),
)
"""Chats with an assistant: their long answers repeat what was asked, what the user said counts."""

PEOPLE_CONTEXTUAL: Final = Weights(
    signals={
        "semantic": 1.28,
        "semantic_session": 2.14,
        "keyword": 6.38,
        "context": 14.76,
        "session": 2.24,
        "time": 1.95,
        "date": 4.19,
        "question": -0.93,
        "reply": 2.86,
        "speaker": 1.55,
        "length": 2.07,
        "number": 0.8,
        "names": 0.77,
        "user": 0.87,
        "standing": 1.52,
        "matched": 0.57,
        "rarest": -0.4,
        "spoken": -1.21,
    },
    calibration=(-0.67, 3.94, 7.05, 2.67, 0.69, -0.41),
)
"""Conversations between people, with an embedder that sees a text as a whole."""

ASSISTANT_CONTEXTUAL: Final = Weights(
    signals={
        "semantic": 2.6,
        "semantic_session": 2.33,
        "keyword": 2.99,
        "context": 0.79,
        "session": 1.4,
        "time": -1.09,
        "date": 1.4,
        "question": -0.08,
        "reply": -0.21,
        "speaker": 0.52,
        "length": -5.89,
        "number": 2.41,
        "names": 0.17,
        "user": 2.6,
        "standing": 1.37,
        "matched": 1.23,
        "rarest": -0.31,
        "spoken": -0.4,
    },
    calibration=(-0.32, 2.43, 3.32, 3.65, 0.69, -0.45),
)
"""Chats with an assistant, with an embedder that sees a text as a whole."""

PROFILES: Final = (PEOPLE, ASSISTANT, PEOPLE_CONTEXTUAL, ASSISTANT_CONTEXTUAL)


def profile(assistant: bool, contextual: bool) -> Weights:
    """The weights for a view, by whether an assistant speaks in it, and for an embedder."""
    return PROFILES[2 * contextual + assistant]
