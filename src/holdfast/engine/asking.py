"""Questions to the language model, each in the ledger before anything is made of its answer."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from holdfast.core.prompt import Prompt
from holdfast.engine.ledger import Payer, record
from holdfast.engine.parts import Parts
from holdfast.engine.tolls import paid_by
from holdfast.errors import BadAnswerError
from holdfast.model import Usage
from holdfast.ports import Answer

T = TypeVar("T")


class Asker:
    """Carries prompts to the model and writes every call into the ledger at once.

    The ledger must hold a call even if its answer is useless or the worker dies afterwards.
    """

    def __init__(self, parts: Parts, payer: Payer) -> None:
        """Raises BadAnswerError if there is no model any more."""
        if parts.llm is None:
            raise BadAnswerError(
                "No language model is configured any more.", hint="Configure `llm`."
            )
        self._parts = parts
        self._payer = payer
        self._llm = parts.llm

    async def ask(self, prompt: Prompt) -> Answer:
        """One call. Raises ModelError, BudgetExceededError."""
        try:
            with paid_by(self._payer):
                answer = await self._llm.complete(
                    prompt.system,
                    prompt.user,
                    schema=prompt.schema,
                    timeout_s=self._parts.model_timeout_s,
                )
        except BadAnswerError as error:
            if error.usage is not None:
                await self._record(error.usage)
            raise
        await self._record(answer.usage)
        return answer

    async def _record(self, usage: Usage) -> None:
        await record(self._parts, self._payer, [usage])

    async def converse(self, talk: Generator[Prompt, Answer, T]) -> T:
        """Run a dialogue: its prompts to the model, the model's answers (or failures) back."""
        try:
            prompt = next(talk)
            while True:
                try:
                    answer = await self.ask(prompt)
                except BadAnswerError as error:
                    prompt = talk.throw(error)
                else:
                    prompt = talk.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value
