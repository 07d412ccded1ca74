"""The questions of an evaluation file, with the turns that answer them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.core.moment import moment
from holdfast.core.transcripts import Format, locomo_id, longmemeval_turn_id, neutral_id
from holdfast.errors import ValidationError
from holdfast.model import Json, Struct

EVAL_FORMATS: tuple[Format, ...] = ("locomo", "longmemeval", "neutral")

LOCOMO_CATEGORIES = {
    1: "multi-hop",
    2: "temporal",
    3: "open-domain",
    4: "single-hop",
    5: "adversarial",
}
"""Names of LoCoMo's category numbers, from the authors' evaluation code."""

_ABSTENTION = ("abstention", "unanswerable")


class Question(Struct, frozen=True, kw_only=True):
    """One question, asked of one conversation's memories."""

    id: str
    user_id: str
    category: str
    text: str
    at: float | None = None
    """When it is asked, epoch seconds UTC; None when the file does not say."""
    evidence: tuple[str, ...] = ()
    """Turn ids that answer it, without repeats."""
    unanswerable: bool = False
    """The right answer is that nothing is known."""


def questions(item: Json, form: Format, *, number: int = 1) -> Iterator[Question]:
    """The questions of one conversation.

    Args:
        item: decoded JSON, as `core.chat_files.items` yields it.
        form: one of EVAL_FORMATS.
        number: the item's place in the file, from 1.

    Raises:
        ValidationError: the form has no questions, or the item does not have its shape.
    """
    if form not in EVAL_FORMATS:
        raise ValidationError(
            f"the form {form} has no questions.", hint=f"Known: {', '.join(EVAL_FORMATS)}."
        )
    try:
        yield from _READERS[form](item, number)
    except (KeyError, TypeError, AttributeError) as fault:
        missing = f" (no {fault.args[0]!r})" if isinstance(fault, KeyError) else ""
        raise ValidationError(
            f"the questions of item {number} do not have the shape of {form}{missing}."
        ) from fault


def _locomo(item: Json, number: int) -> Iterator[Question]:
    user = locomo_id(item, number)
    for place, asked in enumerate(item.get("qa", ()), 1):
        category = asked.get("category")
        yield Question(
            id=f"{user}:{place}",
            user_id=user,
            category=LOCOMO_CATEGORIES.get(category, str(category)),
            text=asked["question"],
            evidence=locomo_evidence(asked.get("evidence") or ()),
        )


def locomo_evidence(written: Json) -> tuple[str, ...]:
    """Turn ids in LoCoMo's evidence strings, which may hold several ("D8:6; D9:17") or none."""
    found = (
        f"D{int(session)}:{int(turn)}"
        for text in written
        for session, turn in re.findall(r"D(\d+):(\d+)", str(text))
    )
    return tuple(dict.fromkeys(found))


def _longmemeval(item: Json, number: int) -> Iterator[Question]:
    evidence = (
        longmemeval_turn_id(session, index)
        for session, turns in enumerate(item["haystack_sessions"])
        for index, turn in enumerate(turns)
        if turn.get("has_answer")
    )
    name = str(item["question_id"])
    unanswerable = name.endswith("_abs")
    yield Question(
        id=name,
        user_id=name,
        category="abstention" if unanswerable else str(item["question_type"]),
        text=item["question"],
        at=moment(item.get("question_date")),
        evidence=() if unanswerable else tuple(evidence),
        unanswerable=unanswerable,
    )


def _neutral(item: Json, number: int) -> Iterator[Question]:
    user = neutral_id(item, number)
    for place, asked in enumerate(item.get("questions", ()), 1):
        category = str(asked.get("category") or "question")
        evidence = tuple(dict.fromkeys(map(str, asked.get("evidence_ids") or ())))
        yield Question(
            id=str(asked.get("id") or place),
            user_id=user,
            category=category,
            text=asked["question"],
            at=moment(asked.get("date")),
            evidence=evidence,
            unanswerable=not evidence and category.lower() in _ABSTENTION,
        )


_READERS = {"locomo": _locomo, "longmemeval": _longmemeval, "neutral": _neutral}
