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
        "question": -0.65,
        "told": 0.08,
        "length": -2.93,
        "before": -0.92,
        "names": 0.4,
        "news": 0.41,
        "information": 0.73,
        "user": 1.08,
        "semantic": 1.83,
        "semantic_session": 2.19,
        "keyword": 4.42,
        "matched": 1.51,
        "context": 15.47,
        "session": 1.92,
        "time": 2.2,
        "date": 3.91,
        "reply": 2.9,
        "speaker": 1.13,
        "own": 0.54,
        "number": 1.4,
    },
    calibration=(-0.24, 4.52, 7.92, 1.28, 0.78, -0.39),
)
"""Conversations between people: no row has the role of an assistant."""

ASSISTANT: Final = Weights(
    signals={
        "question": -0.15,
        "told": -0.19,
        "length": -1.2,
        "before": -0.1,
        "news": 0.22,
        "information": -0.61,
        "user": 3.24,
        "semantic": 2.27,
        "semantic_session": 2.17,
        "keyword": 2.98,
        "matched": 1.54,
        "context": 3.69,
        "session": 1.29,
        "time": 0.56,
        "date": 1.3,
        "reply": -0.31,
        "speaker": 0.38,
        "own": 0.18,
        "number": 1.4,
        "overview": 3.88,
    },
    calibration=(-0.04, 3.34, 3.51, 2.56, 0.67, -0.49),
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
        "question": -0.19,
        "told": -0.15,
        "length": -2.81,
        "before": -0.33,
        "names": 0.21,
        "news": 0.23,
        "information": -0.89,
        "user": 2.68,
        "semantic": 2.36,
        "semantic_session": 2.13,
        "keyword": 3.24,
        "matched": 1.2,
        "context": 1.1,
        "session": 1.48,
        "time": -1.03,
        "date": 1.41,
        "reply": -0.09,
        "speaker": 0.49,
        "own": 0.3,
        "number": 2.49,
        "standing": 1.44,
        "rarest": -0.37,
        "spoken": -0.39,
        "overview": 3.44,
    },
    calibration=(-0.24, 2.75, 3.36, 3.31, 0.71, -0.44),
)
"""Chats with an assistant, with an embedder that sees a text as a whole."""

PROFILES: Final = (PEOPLE, ASSISTANT, PEOPLE_CONTEXTUAL, ASSISTANT_CONTEXTUAL)


def profile(assistant: bool, contextual: bool) -> Weights:
    """The weights for a view, by whether an assistant speaks in it, and for an embedder."""
    return PROFILES[2 * contextual + assistant]
