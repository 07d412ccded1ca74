"""A reranker's order of what was found, its cost in the ledger, and what happens without it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from holdfast.engine.ledger import Payer, done_without, record
from holdfast.engine.parts import Parts
from holdfast.engine.tolls import paid_by
from holdfast.errors import BadAnswerError, BudgetExceededError, ModelError
from holdfast.limits import RERANK_BATCH_MAX, RERANK_CHARS_MAX
from holdfast.model import Usage
from holdfast.ports import Hit, Ranking, Reranker


async def reranked(parts: Parts, query: str, hits: Sequence[Hit], payer: Payer) -> list[Hit] | None:
    """The hits with the reranker's scores, best first; equal ones stay in the order given.

    None if there is no reranker, or it failed, or a budget has no room for it. What it cost is in
    the ledger either way. Raises BudgetExceededError of a budget that blocks.
    """
    reranker = parts.reranker
    if reranker is None:
        return None
    starts = range(0, len(hits), RERANK_BATCH_MAX)
    batches = [hits[start : start + RERANK_BATCH_MAX] for start in starts]
    with paid_by(payer):
        answers = await asyncio.gather(*(_ask(parts, reranker, query, batch) for batch in batches))
    await record(parts, payer, _spent(answers))
    scores: list[float] = []
    for answer in answers:
        if isinstance(answer, BudgetExceededError):
            done_without(payer, "reranker", answer)
        if not isinstance(answer, Ranking):
            return None
        scores += answer.scores
    rescored = [
        replace(hit, score=score, found_score=hit.score)
        for hit, score in zip(hits, scores, strict=True)
    ]
    return sorted(rescored, key=lambda hit: -hit.score)


async def _ask(
    parts: Parts, reranker: Reranker, query: str, hits: Sequence[Hit]
) -> Ranking | ModelError | BudgetExceededError:
    texts = [hit.memory.text[:RERANK_CHARS_MAX] for hit in hits]
    try:
        return await reranker.rerank(query, texts, timeout_s=parts.model_timeout_s)
    except (ModelError, BudgetExceededError) as error:
        return error


def _spent(answers: Sequence[Ranking | ModelError | BudgetExceededError]) -> list[Usage]:
    return [
        answer.usage
        for answer in answers
        if isinstance(answer, Ranking | BadAnswerError) and answer.usage is not None
    ]
