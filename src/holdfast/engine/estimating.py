"""What an add will cost, before anything is stored or asked."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.core.bounds import likely_question, likely_texts, question_usage, texts_usage
from holdfast.core.extract import build_summary_prompt, dialogue, split_turns
from holdfast.core.intake import Said, category_names
from holdfast.core.pricing import usd_of, worst_cost
from holdfast.core.project_settings import instructions_of
from holdfast.core.prompt import Prompt
from holdfast.engine.ledger import payer_of
from holdfast.engine.parts import Parts
from holdfast.errors import BudgetExceededError
from holdfast.limits import ANSWER_TOKENS_MAX
from holdfast.model import Scope, Struct, Turn, Usage


class Estimate(Struct, frozen=True, kw_only=True):
    """What an add takes. Known memories are not looked up for it: they make a question longer."""

    calls: int
    """Questions to the language model, and requests for vectors; of a good answer each."""
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    """About; None if a price is not known."""
    cost_usd_max: float | None
    """The most that its first round can cost."""
    models: tuple[str, ...]
    fits: bool
    """Whether the budgets that would refuse it have room for the most it can cost now."""


class Wanted(Struct, frozen=True, kw_only=True):
    """An add, as far as it decides what is asked."""

    scope: Scope
    said: tuple[Said, ...]
    infer: bool = True
    procedural: bool = False
    instructions: str | None = None
    custom_categories: tuple[str, ...] = ()


async def estimate(parts: Parts, wanted: Wanted) -> Estimate:
    """What the add would cost now."""
    likely, worst = await usages(parts, wanted)
    now = parts.clock.now()
    costs = [parts.prices.cost(one, now) for one in likely]
    most = [worst_cost(parts.prices, one, now) for one in worst]
    known = [cost.nano_usd for cost in costs if cost is not None]
    highest = [cost.nano_usd for cost in most if cost is not None]
    return Estimate(
        calls=len(likely),
        input_tokens=sum(one.input_tokens for one in likely),
        output_tokens=sum(one.output_tokens for one in likely),
        cost_usd=usd_of(sum(known)) if len(known) == len(costs) else None,
        cost_usd_max=usd_of(sum(highest)) if len(highest) == len(most) else None,
        models=tuple(dict.fromkeys(one.model for one in likely)),
        fits=await _fits(parts, wanted, worst),
    )


async def _fits(parts: Parts, wanted: Wanted, worst: Sequence[Usage]) -> bool:
    if parts.toll is None:
        return True
    try:
        await parts.toll.check(payer_of(parts, "add", wanted.scope), worst, degrading=True)
    except BudgetExceededError:
        return False
    return True


async def refuse_if_spent(parts: Parts, wanted: Wanted) -> None:
    """Raises BudgetExceededError if a budget that blocks has no room for what the add needs."""
    if parts.toll is None or (parts.llm is None and parts.embedder.in_process):
        return
    payer = payer_of(parts, "add", wanted.scope)
    if await parts.toll.blocks(payer):
        _, worst = await usages(parts, wanted)
        await parts.toll.check(payer, worst)


async def usages(parts: Parts, wanted: Wanted) -> tuple[list[Usage], list[Usage]]:
    """What the calls of an add take about, and at most."""
    likely, worst = [], []
    texts = [one.text for one in wanted.said]
    if not parts.embedder.in_process:
        name = f"{parts.embedder.space.provider}:{parts.embedder.space.model}"
        likely.append(likely_texts(name, texts))
        worst.append(texts_usage(name, texts))
    if parts.llm is not None and (wanted.infer or wanted.procedural):
        name = parts.llm.name
        answer = ANSWER_TOKENS_MAX if parts.toll is None else parts.toll.answer_tokens(name)
        for prompt in await _prompts(parts, wanted):
            parts_of = (name, prompt.system, prompt.user, prompt.schema)
            likely.append(likely_question(*parts_of))
            worst.append(question_usage(*parts_of, answer))
    return likely, worst


async def _prompts(parts: Parts, wanted: Wanted) -> list[Prompt]:
    """The first question about each batch of turns."""
    now = parts.clock.now()
    turns = [
        Turn(
            id=str(place),
            role=one.role,
            text=one.text,
            actor_id=one.actor_id,
            event_at=now if one.at is None else one.at,
        )
        for place, one in enumerate(wanted.said)
    ]
    settings = await parts.project_settings.of(parts.directory, parts.project)
    own = instructions_of(settings, of_user=wanted.scope.user_id is not None)
    instructions = wanted.instructions or own or parts.instructions
    if wanted.procedural:
        return [build_summary_prompt(turns, zone=parts.zone_name, instructions=instructions)]
    categories = wanted.custom_categories or category_names(settings)
    return [
        next(
            dialogue(
                batch,
                (),
                reference=now,
                zone=parts.zone_name,
                instructions=instructions,
                categories=categories,
            )
        )
        for batch in split_turns(turns)
    ]
