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
        "question": -0.66,
        "length": -3.06,
        "before": -0.89,
        "names": 0.38,
        "news": 0.41,
        "information": 0.76,
        "user": 1.07,
        "semantic": 2.18,
        "semantic_session": 2.07,
        "keyword": 4.11,
        "matched": 1.62,
        "context": 16.9,
        "between": -5.81,
        "session": 2.01,
        "time": 2.19,
        "date": 4.93,
        "reply": 3.02,
        "speaker": 1.09,
        "own": 0.57,
        "number": 1.43,
    },
    calibration=(-0.23, 4.6, 7.77, 1.22, 0.8, -0.39),
)
"""Conversations between people: no row has the role of an assistant."""

ASSISTANT: Final = Weights(
    signals={
        "question": -0.15,
        "told": -0.19,
        "length": -1.27,
        "before": -0.12,
        "news": 0.22,
        "information": -0.62,
        "user": 3.2,
        "semantic": 2.64,
        "semantic_session": 2.09,
        "keyword": 2.82,
        "matched": 1.58,
        "context": 4.86,
        "between": -4.48,
        "session": 1.29,
        "time": 0.56,
        "date": 4.65,
        "reply": -0.35,
        "speaker": 0.36,
        "own": 0.19,
        "number": 1.36,
        "overview": 3.9,
    },
    calibration=(-0.05, 3.39, 3.44, 2.43, 0.67, -0.48),
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
