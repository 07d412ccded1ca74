"""Models in the order in which they are asked: the next one when the one before is away.

Away, or refusing: a refusal (credentials, an unknown model) is told in the log, for it does not
pass by itself. A useless answer is no reason to ask another; whoever asked has it repaired.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from holdfast import deadline
from holdfast.errors import ModelError, ModelRefusedError, ModelUnavailableError
from holdfast.model import Json
from holdfast.ports import LLM, Answer, Ranking, Reranker

M = TypeVar("M", LLM, Reranker)
T = TypeVar("T")

Noted = Callable[[], None]
"""Told when another model is asked than the first."""

_log = logging.getLogger("holdfast.calls")


def _unheard() -> None:
    """The default for `noted`."""


class FallbackLLM:
    """Several models as one. An answer's usage names the one that gave it."""

    def __init__(self, models: Sequence[LLM], noted: Noted = _unheard) -> None:
        """`models`: one at least, each within its own bounds."""
        self.name = models[0].name
        self._models = models
        self._noted = noted

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Json], timeout_s: float
    ) -> Answer:
        """The answer of the first model that is there; each has an even share of the time left.

        If none is, raises the first error that passes by itself, else the first one.
        """

        def ask(model: LLM, left_s: float) -> Awaitable[Answer]:
            return model.complete(system, user, schema=schema, timeout_s=left_s)

        return await _first(self._models, ask, timeout_s, self._noted)

    async def close(self) -> None:
        """Close them all."""
        await asyncio.gather(*(model.close() for model in self._models))


class FallbackReranker:
    """Several rerankers as one."""

    def __init__(self, models: Sequence[Reranker], noted: Noted = _unheard) -> None:
        """`models`: one at least, each within its own bounds."""
        self.name = models[0].name
        self._models = models
        self._noted = noted

    async def rerank(self, query: str, texts: Sequence[str], *, timeout_s: float) -> Ranking:
        """The scores of the first that is there; see `FallbackLLM.complete`."""

        def ask(model: Reranker, left_s: float) -> Awaitable[Ranking]:
            return model.rerank(query, texts, timeout_s=left_s)

        return await _first(self._models, ask, timeout_s, self._noted)

    async def close(self) -> None:
        """Close them all."""
        await asyncio.gather(*(model.close() for model in self._models))


async def _first(
    models: Sequence[M], ask: Callable[[M, float], Awaitable[T]], timeout_s: float, noted: Noted
) -> T:
    time = asyncio.get_running_loop().time
    ends = time() + timeout_s
    errors: list[ModelError] = []
    for number, model in enumerate(models):
        if number:
            noted()
        left_s = min(ends - time(), deadline.left_s())
        try:
            return await ask(model, left_s / (len(models) - number))
        except ModelUnavailableError as error:
            errors.append(error)
        except ModelRefusedError as error:
            _log.warning("%s refuses (%s)", model.name, error.reason)
            errors.append(error)
    passing = [error for error in errors if error.retryable]
    raise (passing or errors)[0]
