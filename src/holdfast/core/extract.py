"""Extraction, decided without I/O: what to ask the model, and what of its answer to believe.

`dialogue` holds the whole conversation with the model (ask, check, repair once) as a generator
that yields prompts and is sent answers; the caller carries them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast import limits
from holdfast.core import prompt as texts
from holdfast.core.answers import find_object, json_line, objects
from holdfast.core.grounding import (
    clean,
    event_time,
    fold,
    quote_occurs,
    repeats,
    strip_recalled,
    time_zone,
    unheard,
    without_recalled_lines,
)
from holdfast.core.prompt import Prompt
from holdfast.errors import BadAnswerError, ValidationError
from holdfast.model import Json, Memory, Struct, Turn

if TYPE_CHECKING:
    from holdfast.ports import Answer

_SILENT_ROLES: Final = frozenset({"system", "developer"})
"""Roles whose turns are written by the application, not said in the conversation."""

_ECHO_ROLES: Final = frozenset({"assistant", "tool", "function"})
"""Roles that may repeat what the application recalled for them."""


class ExtractedFact(Struct, frozen=True, kw_only=True):
    """One fact the model found, checked against the turn it names."""

    text: str
    turn: int
    """Position of its turn in the turns given, from 0."""
    turn_id: str
    role: str
    actor_id: str | None
    """Who said it: the speaker of the turn, not what the model believes."""
    quote: str
    """Words of the turn that support the fact, as the model copied them."""
    said_at: float
    event_at: float
    """When it happened, epoch seconds; the time of the turn unless the turn tells another."""
    entities: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    """Ids of shown memories that this fact makes untrue."""


class Rejected(Struct, frozen=True, kw_only=True):
    """A fact of the answer that is not kept, and why."""

    text: str
    reason: str


class Extraction(Struct, frozen=True, kw_only=True):
    """What an answer is worth."""

    facts: tuple[ExtractedFact, ...]
    rejected: tuple[Rejected, ...] = ()
    partial: bool = False
    """The answer was damaged even after the repair; what could be read of it is here."""
    model: str = ""
    """provider:model that gave the answer."""
    prompt: str = ""
    """Version of the system text it was told."""


class _Fact(msgspec.Struct):
    """A fact as the model writes it."""

    turn: int
    quote: str
    text: str
    when: str | None = None
    entities: list[str] | None = None
    categories: list[str] | None = None
    replaces: list[int] | None = None


def split_turns(
    turns: Sequence[Turn], chars_max: int = limits.EXTRACTION_CHARS_MAX
) -> tuple[tuple[Turn, ...], ...]:
    """Turns in batches of at most `chars_max` characters, in order.

    A longer turn is cut, at white space if it has any, into pieces with the id of the turn.
    """
    batches: list[tuple[Turn, ...]] = []
    batch: list[Turn] = []
    size = 0
    for piece in _pieces(turns, chars_max):
        if batch and size + len(piece.text) > chars_max:
            batches.append(tuple(batch))
            batch, size = [], 0
        batch.append(piece)
        size += len(piece.text)
    return (*batches, tuple(batch)) if batch else tuple(batches)


def build_prompt(
    turns: Sequence[Turn],
    nearby: Sequence[Memory],
    *,
    reference: float,
    zone: str = "UTC",
    instructions: str | None = None,
    categories: Sequence[str] = (),
    context: Sequence[Turn] = (),
    temporal_reasoning: bool = True,
) -> Prompt:
    """The question that extracts facts from `turns`.

    `nearby` (the first NEARBY_MEMORIES_MAX) are shown by number, `context` are earlier turns shown
    for understanding only; `reference` is the present in epoch seconds, and dates are told in
    `zone` (IANA name). `instructions` and allowed `categories` come from the operator, never from
    the conversation. Without `temporal_reasoning` nothing is asked about when things happened.
    Raises ValidationError for an unknown zone or too long instructions.
    """
    place = time_zone(zone)
    lines: list[dict[str, Json]] = [{"now": _date(reference, place, clock=False), "zone": zone}]
    lines += [
        {"memory": number, "date": _date(memory.event_at, place, clock=False), "text": text}
        for number, memory in enumerate(nearby[: limits.NEARBY_MEMORIES_MAX], 1)
        if (text := memory.text[: texts.NEARBY_CHARS_MAX])
    ]
    lines += [{"context": i, **line} for i, line in _turn_lines(context, place)]
    lines += [{"turn": i, **line} for i, line in _turn_lines(turns, place)]
    return Prompt(
        system=(texts.SYSTEM if temporal_reasoning else texts.UNTIMED_SYSTEM)
        + _additions(instructions, categories),
        user="\n".join(json_line(line) for line in lines),
        schema=texts.FACTS_SCHEMA if temporal_reasoning else texts.UNTIMED_FACTS_SCHEMA,
    )


def repair_prompt(prompt: Prompt, bad_text: str, reason: str) -> Prompt:
    """The one repair: the same question again, with the bad answer and what was wrong with it."""
    shown = json_line({"last_answer": bad_text[: texts.QUOTE_CHARS_MAX]})
    request = texts.REPAIR.format(reason=reason)
    return msgspec.structs.replace(prompt, user=f"{prompt.user}{request}{shown}")


def build_summary_prompt(
    turns: Sequence[Turn], *, zone: str = "UTC", instructions: str | None = None
) -> Prompt:
    """The question that turns a whole agent run into one procedural memory; errors as above."""
    lines: list[dict[str, Json]] = [
        {"turn": i, **line} for i, line in _turn_lines(turns, time_zone(zone))
    ]
    return Prompt(
        system=texts.SUMMARY_SYSTEM + _additions(instructions, ()),
        user="\n".join(json_line(line) for line in lines),
        schema=texts.SUMMARY_SCHEMA,
    )


def parse_summary(text: str) -> str:
    """The summary in an answer. Raises BadAnswerError without quoting the answer."""
    summary = find_object(text, "summary")["summary"]
    if not isinstance(summary, str) or not summary.strip():
        raise BadAnswerError("the answer holds no summary text")
    return clean(summary.strip()[: texts.SUMMARY_CHARS_MAX])


def dialogue(
    turns: Sequence[Turn],
    nearby: Sequence[Memory],
    *,
    reference: float,
    zone: str = "UTC",
    instructions: str | None = None,
    categories: Sequence[str] = (),
    context: Sequence[Turn] = (),
    temporal_reasoning: bool = True,
) -> Generator[Prompt, Answer, Extraction]:
    """Ask, check, repair once: yields each prompt, is sent its answer, returns the extraction.

    Throw a BadAnswerError in (an empty or refused answer) to have it count as a bad answer. Raises
    BadAnswerError if nothing of two answers can be read; the other arguments are `build_prompt`'s.
    """
    prompt = build_prompt(
        turns, nearby, reference=reference, zone=zone,
        instructions=instructions, categories=categories, context=context,
        temporal_reasoning=temporal_reasoning,
    )  # fmt: skip
    first: Answer | None = None
    read = partial(
        parse_answer,
        turns=turns, nearby=nearby, zone=zone, categories=categories, context=context,
        temporal_reasoning=temporal_reasoning,
    )  # fmt: skip
    try:
        first = yield prompt
        return _told_by(first, prompt, read(first.text))
    except BadAnswerError as error:
        cut_off = first is not None and bool(first.text) and first.truncated
        reason = "it was cut off, so be brief and quote little" if cut_off else error.message
    second = yield repair_prompt(prompt, "" if first is None else first.text, reason)
    last: BadAnswerError | None = None
    for answer in filter(None, (second, first)):
        try:
            return _told_by(answer, prompt, read(answer.text, salvage=True))
        except BadAnswerError as error:
            last = last or error
    raise last or BadAnswerError("the model gave no answer")


def _told_by(answer: Answer, prompt: Prompt, extraction: Extraction) -> Extraction:
    """The extraction with what it came from."""
    version = texts.version_of(prompt.system)
    return msgspec.structs.replace(extraction, model=answer.usage.model, prompt=version)


def parse_answer(
    text: str,
    turns: Sequence[Turn],
    nearby: Sequence[Memory],
    *,
    zone: str = "UTC",
    categories: Sequence[str] = (),
    context: Sequence[Turn] = (),
    temporal_reasoning: bool = True,
    salvage: bool = False,
) -> Extraction:
    """Facts of an answer to `build_prompt` with the same turns, memories, zone and context.

    Raises BadAnswerError, whose message quotes no content, if there is no JSON object with a list
    `facts` or any fact has the wrong shape. With `salvage` the readable facts of such an answer
    are kept, the others become `rejected` and the extraction is `partial`; only an answer of which
    nothing can be read still raises. Without `temporal_reasoning` a fact has its turn's time.
    """
    items, damaged = _read_facts(text, salvage=salvage)
    check = _Checker(turns, nearby, zone if temporal_reasoning else None, categories, context)
    facts: list[ExtractedFact] = []
    rejected: list[Rejected] = []
    for item in items:
        found = check(item) if len(facts) < limits.FACTS_PER_CALL_MAX else _TOO_MANY
        if isinstance(found, ExtractedFact):
            facts.append(found)
        else:
            rejected.append(Rejected(text=_bounded(item.text, texts.FACT_CHARS_MAX), reason=found))
    if damaged:
        rejected.append(Rejected(text="", reason=f"damaged answer: {damaged}"))
    return Extraction(facts=tuple(facts), rejected=tuple(rejected), partial=bool(damaged))


_TOO_MANY: Final = "more facts than one call may give"
_RECALLED: Final = "repeats a recalled memory"


class _Checker:
    """Checks single facts against the turns and memories that were shown.

    `zone`: where the days that the model names begin; None if the days it names do not count.
    """

    def __init__(
        self,
        turns: Sequence[Turn],
        nearby: Sequence[Memory],
        zone: str | None,
        categories: Sequence[str],
        context: Sequence[Turn],
    ) -> None:
        self._turns = turns
        self._shown = nearby[: limits.NEARBY_MEMORIES_MAX]
        self._memories = [fold(m.text) for m in self._shown if m.kind != "turn"]
        self._zone = None if zone is None else time_zone(zone)
        self._categories = {fold(name): name for name in categories}
        self._said: dict[int, tuple[str, str]] = {}
        others = [*(turn.text for turn in context), *(turn.actor_id or "" for turn in turns)]
        self._heard = [m.text for m in self._shown] + others
        self._everything: str | None = None

    def __call__(self, item: _Fact) -> ExtractedFact | str:
        """The fact with what is known of its turn, or the reason why it is not kept."""
        position = item.turn - 1
        if not 0 <= position < len(self._turns):
            return "names a turn that was not shown"
        reason = self._objection(item, position)
        if reason is not None:
            return reason
        turn = self._turns[position]
        return ExtractedFact(
            text=clean(item.text.strip()),
            turn=position,
            turn_id=turn.id,
            role=turn.role,
            actor_id=turn.actor_id,
            quote=clean(item.quote.strip()),
            said_at=turn.event_at,
            event_at=self._event_time(item, turn),
            entities=self._entities(item),
            categories=self._topics(item),
            replaces=self._replaced(item),
        )

    def _event_time(self, item: _Fact, turn: Turn) -> float:
        if self._zone is None:
            return turn.event_at
        return event_time(item.when, turn.event_at, self._zone)

    def _objection(self, item: _Fact, position: int) -> str | None:
        fact, quote = item.text.strip(), item.quote.strip()
        if not any(char.isalnum() for char in fact):
            return "has no words"
        if len(fact) > texts.FACT_CHARS_MAX or len(quote) > texts.QUOTE_CHARS_MAX:
            return "is too long for one fact"
        turn = self._turns[position]
        if turn.role.casefold() in _SILENT_ROLES:
            return "comes from a system message"
        said, own = self._folded(position)
        if not quote_occurs(fold(quote), said):
            return "its quote does not occur in the turn"
        if not quote_occurs(fold(quote), own):
            return _RECALLED
        if unheard(fold(fact), self._shown_text()):
            return "names an address or a number that nobody said"
        if turn.role.casefold() in _ECHO_ROLES and repeats(
            fold(fact), fold(quote), said, self._memories
        ):
            return _RECALLED
        return None

    def _folded(self, position: int) -> tuple[str, str]:
        """What was said in a turn, and the same without lists of recalled memories."""
        if position not in self._said:
            said = strip_recalled(self._turns[position].text)
            self._said[position] = fold(said), without_recalled_lines(said, self._memories)
        return self._said[position]

    def _shown_text(self) -> str:
        """All that the model could have a name or a number from."""
        if self._everything is None:
            said = [self._folded(i)[0] for i in range(len(self._turns))]
            self._everything = " ".join([*said, *map(fold, self._heard)])
        return self._everything

    def _entities(self, item: _Fact) -> tuple[str, ...]:
        text = fold(item.text)
        return tuple(name for name in _labels(item.entities) if fold(name) in text)

    def _topics(self, item: _Fact) -> tuple[str, ...]:
        named = _labels(item.categories)
        if not self._categories:
            return tuple(name.lower() for name in named)
        allowed = (self._categories.get(fold(name)) for name in named)
        return tuple(name for name in allowed if name)

    def _replaced(self, item: _Fact) -> tuple[str, ...]:
        numbers = dict.fromkeys(item.replaces or ())
        return tuple(self._shown[n - 1].id for n in numbers if 1 <= n <= len(self._shown))


def _labels(names: Sequence[str] | None) -> tuple[str, ...]:
    """Names that are short enough, without repetitions."""
    kept = {fold(name): clean(name.strip()) for name in reversed(names or ())}
    short = (kept[key] for key in reversed(kept) if key and len(kept[key]) <= texts.LABEL_CHARS_MAX)
    return tuple(short)[: texts.LABELS_MAX]


def _bounded(text: str, chars_max: int) -> str:
    return clean(text.strip()[:chars_max])


def _read_facts(text: str, *, salvage: bool) -> tuple[list[_Fact], str]:
    """The facts in an answer, and what was wrong with the others (only when salvaging)."""
    try:
        return msgspec.convert(find_object(text, "facts")["facts"], list[_Fact], strict=False), ""
    except msgspec.ValidationError as error:
        reason = f"the answer does not fit the schema: {error}"
    except BadAnswerError as error:
        reason = error.message
    facts = list(_readable_facts(text)) if salvage else []
    if not facts:
        raise BadAnswerError(reason)
    return facts, reason


def _readable_facts(text: str) -> Iterator[_Fact]:
    """Every well-formed fact in a damaged answer."""
    opened = text.find('"facts"')
    for value in objects(text[opened:] if opened >= 0 else text):
        try:
            yield msgspec.convert(value, _Fact, strict=False)
        except msgspec.ValidationError:
            continue


def _pieces(turns: Sequence[Turn], chars_max: int) -> Iterator[Turn]:
    for turn in turns:
        rest = turn.text
        while len(rest) > chars_max:
            cut = max(rest.rfind(" ", chars_max // 2, chars_max), rest.rfind("\n", 0, chars_max))
            cut = cut + 1 if cut >= chars_max // 2 else chars_max
            yield msgspec.structs.replace(turn, text=rest[:cut])
            rest = rest[cut:]
        yield msgspec.structs.replace(turn, text=rest) if rest is not turn.text else turn


def _additions(instructions: str | None, categories: Sequence[str]) -> str:
    """What the operator adds to the system text, after the part all projects share."""
    wanted = (instructions or "").strip()
    if len(wanted) > texts.INSTRUCTIONS_CHARS_MAX:
        raise ValidationError(
            f"the instructions have {len(wanted)} characters.",
            hint=f"At most {texts.INSTRUCTIONS_CHARS_MAX} are allowed.",
        )
    added = texts.OPERATOR + wanted if wanted else ""
    return added + (texts.CATEGORIES + ", ".join(categories) if categories else "")


def _turn_lines(turns: Sequence[Turn], zone: tzinfo) -> Iterator[tuple[int, dict[str, Json]]]:
    """Number and description of each turn that was said by somebody; numbers count all turns."""
    for number, turn in enumerate(turns, 1):
        said = strip_recalled(turn.text).strip()
        if said and turn.role.casefold() not in _SILENT_ROLES:
            told = _date(turn.event_at, zone)
            yield number, {"role": turn.role, "name": turn.actor_id, "date": told, "text": said}


def _date(at: float, zone: tzinfo, *, clock: bool = True) -> str:
    """A date as the model reads it best: ISO with the day of the week, in the caller's zone."""
    moment = datetime.fromtimestamp(at, UTC).astimezone(zone)
    day = f"{moment:%Y-%m-%d} {_DAYS[moment.weekday()]}"
    return f"{day} {moment:%H:%M}" if clock else day


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
