"""What a job tells of its items, once it is known under which ids they were really stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.errors import BudgetExceededError, ConflictError, NotFoundError
from holdfast.model import Job, Json
from holdfast.ports import TakeRow

HELD: Final = "HELD"
"""The event of a message that is held until somebody approves it."""


def settled(result: Json, stored: Mapping[str, str]) -> Json:
    """The result with the ids of `stored` (wanted id to stored id): a duplicate is no addition.

    Looks at a list of items, or the list under "results"; anything else stays as it is.
    """
    if isinstance(result, list | tuple):
        return [_item(item, stored) for item in result]
    if isinstance(result, Mapping) and isinstance(result.get("results"), list | tuple):
        return {**result, "results": settled(result["results"], stored)}
    return result


def with_held(
    items: Sequence[dict[str, Json]], held: Mapping[str, Json] | None
) -> list[dict[str, Json]]:
    """The items of an add that was kept word for word, with those of the held messages among them.

    `held`: the `id` of the held add, and the `places` of its messages among all, in order.
    """
    every = list(items)
    if held is None:
        return every
    for place in held["places"]:
        every.insert(place, {"id": held["id"], "event": HELD})
    return every


def missing_part(job: Job, llm: str | None, embedder: str) -> str | None:
    """Which model, or budget, a job waits for, by its last error; None if it waits for none.

    `llm` and `embedder` are their names, which errors of models tell.
    """
    if job.state != "PENDING" or job.error is None:
        return None
    if job.error_code == BudgetExceededError.code:
        return "budget"
    about_llm = llm is not None and llm in job.error
    return "embedder" if embedder in job.error and not about_llm else "llm"


def unchangeable(memory_id: str) -> ConflictError:
    """The error for a change of a memory that was added as immutable."""
    return ConflictError(
        f"Memory {memory_id} is immutable; nothing was changed.",
        hint="Delete it, and add what is true now.",
    )


def gone(op: TakeRow) -> NotFoundError:
    """The error for a row that somebody else took."""
    return NotFoundError(
        f"There is no row {op.id} in {op.kind.table} any more; nothing was changed.",
        hint="Somebody else was faster: list those there are.",
    )


def _item(item: Json, stored: Mapping[str, str]) -> Json:
    if not isinstance(item, Mapping):
        return item
    found = stored.get(item.get("id", ""))
    if found is None or found == item["id"]:
        return item
    return {**item, "id": found, "event": "NONE"}
