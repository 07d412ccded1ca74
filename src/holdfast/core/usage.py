"""Reports on the ledger: what may be asked for, months made of days, the dearest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, cast, get_args

from msgspec.structs import replace

from holdfast.clock import iso
from holdfast.core import intake
from holdfast.core.bounds import likely_tokens
from holdfast.core.pricing import usd_of
from holdfast.core.prompt import SYSTEM
from holdfast.errors import ValidationError
from holdfast.model import Cost, Json, Struct, Usage
from holdfast.ports import UsageGroup, UsageSum

ReportGroup = UsageGroup | Literal["month"]
"""A month is of UTC, YYYY-MM."""

GROUPS: Final[tuple[str, ...]] = (*get_args(UsageGroup), "month")
TIMES: Final = ("day", "month")

_SUMMED: Final = (
    "calls", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "nano_usd",
    "unpriced", "saved_nano_usd", "spared_calls", "spared_tokens", "spared_nano_usd",
)  # fmt: skip


COMPARED_WITH: Final = "Mem0 2.2.1"
COMPARED_TOKENS: Final = 7_606
"""Tokens of the system text with which it extracts facts (`docs/operating/costs.md`)."""
INSTRUCTION_TOKENS: Final = likely_tokens(SYSTEM)
"""About those of ours."""


class Instructions(Struct, frozen=True, kw_only=True):
    """What calls that extract facts spent on telling the model how, beside others' longer texts."""

    calls: int
    fewer_tokens: int
    """Than with the text we compare with."""
    fewer_nano_usd: int
    """What these would have cost as input that no provider had in its cache, at today's prices;
    nothing of models without a price."""


class UsageReport(Struct, frozen=True, kw_only=True):
    """What calls took. Times are epoch seconds."""

    since: float
    before: float
    by: tuple[ReportGroup, ...]
    total: UsageSum
    groups: tuple[UsageSum, ...]
    left_off: int
    """Groups beyond the limit."""
    instructions: Instructions


def clean_groups(by: Sequence[str]) -> tuple[ReportGroup, ...]:
    """What to sum by. Raises ValidationError."""
    names = [by] if isinstance(by, str) else list(by)
    for name in names:
        if name not in GROUPS:
            raise ValidationError(
                f"Usage cannot be summed by {str(name)[:64]!r}.", hint=f"Use {', '.join(GROUPS)}."
            )
    if {"day", "month"} <= set(names):
        raise ValidationError("A day has one month.", hint="Sum by day, or by month.")
    return cast("tuple[ReportGroup, ...]", tuple(dict.fromkeys(names)))


def clean_where(where: Mapping[str, str]) -> tuple[tuple[UsageGroup, str], ...]:
    """Which calls are meant. Raises ValidationError."""
    known = [name for name in GROUPS if name not in (*TIMES, "project")]
    for name in where:
        if name not in known:
            raise ValidationError(
                f"Usage cannot be chosen by {str(name)[:64]!r}.", hint=f"Use {', '.join(known)}."
            )
    pairs = ((name, intake.clean_text(value, name, 512)) for name, value in where.items())
    return cast("tuple[tuple[UsageGroup, str], ...]", tuple(pairs))


def asked_of_store(by: Sequence[ReportGroup]) -> tuple[UsageGroup, ...]:
    """What a store sums by: it knows days, of which months are made."""
    return tuple("day" if name == "month" else name for name in by)


def arranged(by: Sequence[ReportGroup], sums: Iterable[UsageSum]) -> list[UsageSum]:
    """The groups of a report in order: those by time alone by time, others the dearest first."""
    found: dict[tuple[str | None, ...], UsageSum] = {}
    for one in sums:
        group = tuple(
            value[:7] if name == "month" and value is not None else value
            for name, value in zip(by, one.group, strict=True)
        )
        found[group] = plus(found.get(group, UsageSum()), replace(one, group=group))
    if by and all(name in TIMES for name in by):
        return [found[group] for group in sorted(found, key=str)]
    return sorted(found.values(), key=_dearest)


def plus(one: UsageSum, other: UsageSum) -> UsageSum:
    """Both together, as the group of the other."""
    return replace(other, **{name: getattr(one, name) + getattr(other, name) for name in _SUMMED})


def report_shape(report: UsageReport) -> dict[str, Json]:
    """A report as JSON."""
    return {
        "since": iso(report.since),
        "before": iso(report.before),
        "by": list(report.by),
        "total": sum_shape(report.total),
        "results": [
            {**dict(zip(report.by, one.group, strict=True)), **sum_shape(one)}
            for one in report.groups
        ],
        "left_off": report.left_off,
        "instructions": {
            "calls": report.instructions.calls,
            "tokens_per_call": INSTRUCTION_TOKENS,
            "compared_with": COMPARED_WITH,
            "compared_tokens_per_call": COMPARED_TOKENS,
            "fewer_tokens": report.instructions.fewer_tokens,
            "fewer_usd": usd_of(report.instructions.fewer_nano_usd),
        },
    }


def instructions_of(
    sums: Iterable[UsageSum], price: Callable[[Usage], Cost | None]
) -> Instructions:
    """From sums by operation and model. Those of adds that answered with tokens are extractions:
    of embedders there is no output."""
    calls = nano = 0
    fewer = COMPARED_TOKENS - INSTRUCTION_TOKENS
    for one in sums:
        operation, model = one.group
        if operation != "add" or not one.output_tokens:
            continue
        calls += one.calls
        cost = price(Usage(model=model or "", input_tokens=fewer))
        nano += 0 if cost is None else cost.nano_usd * one.calls
    return Instructions(calls=calls, fewer_tokens=calls * fewer, fewer_nano_usd=nano)


def sum_shape(one: UsageSum) -> dict[str, Json]:
    """Sums as JSON: money in US dollars."""
    shown = {name: getattr(one, name) for name in _SUMMED if not name.endswith("nano_usd")}
    return {
        **shown,
        "cost_usd": usd_of(one.nano_usd),
        "saved_usd": usd_of(one.saved_nano_usd),
        "spared_usd": usd_of(one.spared_nano_usd),
    }


def _dearest(one: UsageSum) -> tuple[int, int, list[str]]:
    tokens = one.input_tokens + one.output_tokens
    return -one.nano_usd, -tokens, [value or "" for value in one.group]
