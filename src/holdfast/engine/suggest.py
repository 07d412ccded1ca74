"""Ask the language model for instructions that fit a use case."""

from __future__ import annotations

from holdfast.core import suggest
from holdfast.engine.ledger import billed, payer_of
from holdfast.engine.parts import Parts
from holdfast.errors import BadAnswerError, UnsupportedError
from holdfast.model import Scope


async def suggestion(parts: Parts, use_case: str) -> suggest.Suggestion:
    """One call of the model, which is in the ledger whatever it answers.

    Raises UnsupportedError without a model, ModelError.
    """
    if parts.llm is None:
        raise UnsupportedError(
            "Instructions are written by a language model, and none is configured.",
            hint="Configure `llm` and restart, or write them yourself.",
        )
    question = suggest.prompt(use_case)
    payer = payer_of(parts, "instructions", Scope())
    async with billed(parts, payer) as spend:
        try:
            answer = await parts.llm.complete(
                question.system,
                question.user,
                schema=question.schema,
                timeout_s=parts.model_timeout_s,
            )
        except BadAnswerError as error:
            if error.usage is not None:
                spend(error.usage)
            raise
        spend(answer.usage)
    return suggest.parsed(answer.text)
