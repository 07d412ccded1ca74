"""Runs an evaluation: stores every turn, asks every question, scores what came back.

No model is asked: a question's annotated evidence turns must be among the memories found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core import chat_files, transcripts
from holdfast.core.batches import Batch, batches
from holdfast.core.transcripts import Format, Record
from holdfast.errors import ValidationError
from holdfast.eval import metrics
from holdfast.eval.questions import EVAL_FORMATS, Question, questions
from holdfast.eval.report import Outcome, Stored

if TYPE_CHECKING:
    from holdfast import Memory

Advance = Callable[[int], None]
MemoryIds = dict[tuple[str, str], str]
"""(user id, turn id) to the id of the memory that holds the turn."""


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """What one evaluation stores and asks."""

    form: Format
    conversations: tuple[tuple[Record, ...], ...]
    questions: tuple[Question, ...]
    """Those that can be scored, and those that are unanswerable."""
    skipped: int
    """Questions left out because they have no evidence among the turns."""

    @property
    def turns(self) -> int:
        """How many turns are stored."""
        return sum(map(len, self.conversations))


def load(path: Path, form: Format | None = None, *, limit: int | None = None) -> Dataset:
    """Reads an evaluation file.

    Args:
        path: LoCoMo, LongMemEval or the neutral form.
        form: which of them; told by content when None.
        limit: ask at most so many questions, and store only the conversations they need.

    Raises:
        ValidationError: the file has no known form, or not the shape of its form.
        OSError: it cannot be read.
    """
    try:
        return _read(path.read_bytes(), form, limit)
    except ValidationError as fault:
        raise type(fault)(f"{path.name}: {fault.message}", hint=fault.hint) from fault


def _read(data: bytes, form: Format | None, limit: int | None) -> Dataset:
    form = form or chat_files.detect_file(data)
    if form not in EVAL_FORMATS:
        raise ValidationError(
            f"this is {form}, which has no questions.", hint=f"Evaluate {', '.join(EVAL_FORMATS)}."
        )
    conversations: list[tuple[Record, ...]] = []
    asked: list[Question] = []
    skipped = 0
    for number, item in enumerate(chat_files.items(data, form), 1):
        records = tuple(
            part
            for part in transcripts.records(item, form, number=number)
            if isinstance(part, Record)
        )
        usable, left_out = _usable(questions(item, form, number=number), records)
        asked += usable
        skipped += left_out
        conversations.append(records)
        if limit is not None and len(asked) >= limit:
            break
    if not asked:
        raise ValidationError("there is no question with evidence.")
    return Dataset(
        form=form,
        conversations=tuple(conversations),
        questions=tuple(asked[:limit]),
        skipped=skipped,
    )


def _usable(asked: Iterator[Question], records: Sequence[Record]) -> tuple[list[Question], int]:
    """Questions that can be scored, evidence cut to turns that exist; the rest's count."""
    turns = {record.turn_id for record in records}
    usable: list[Question] = []
    total = 0
    for question in asked:
        total += 1
        evidence = tuple(turn for turn in question.evidence if turn in turns)
        if evidence or question.unanswerable:
            usable.append(msgspec.structs.replace(question, evidence=evidence))
    return usable, total - len(usable)


def store(memory: Memory, dataset: Dataset, advance: Advance) -> Stored:
    """Stores every turn as one memory, without inference.

    Args:
        memory: an empty store.
        dataset: what to store.
        advance: told how many more turns are stored.
    """
    ids: MemoryIds = {}
    began = time.perf_counter()
    for conversation in dataset.conversations:
        for batch in batches(conversation):
            ids |= _add(memory, batch)
            advance(len(batch.records))
    return Stored(turns=dataset.turns, seconds=time.perf_counter() - began, ids=ids)


def _add(memory: Memory, batch: Batch) -> MemoryIds:
    answer = memory.add(**batch.arguments(), infer=False)
    return {
        (batch.scope.user_id or "", record.turn_id): item["id"]
        for record, item in zip(batch.records, answer["results"], strict=True)
    }


def ask(memory: Memory, question: Question, ids: MemoryIds, *, threshold: float) -> Outcome:
    """Asks one question and scores the answer.

    Args:
        memory: the store that `store` filled.
        question: what to ask.
        ids: what `store` returned.
        threshold: the score below which a result would not be shown; the ranking that is scored
            has no threshold, so that recall and abstention are told apart.
    """
    began = time.perf_counter()
    answer = memory.search(
        question.text,
        top_k=metrics.SEARCH_DEPTH,
        threshold=0.0,
        filters={"user_id": question.user_id},
        reference_date=question.at,
    )
    seconds = time.perf_counter() - began
    results: list[dict[str, Any]] = answer["results"]
    evidence = {ids[question.user_id, turn] for turn in question.evidence}
    return Outcome(
        category=question.category,
        seconds=seconds,
        abstained=all(result["score"] < threshold for result in results),
        scores=metrics.score([r["id"] for r in results], evidence) if evidence else None,
    )
