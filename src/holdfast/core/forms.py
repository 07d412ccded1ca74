"""A call of a verb on its way to a server: in today's form, whatever form it was made in.

`AsyncMemory` accepts the form of Mem0 1.x and warns whoever uses it. The author of a call through
a client or over HTTP sits elsewhere than the memory: the form is changed, and the warning told,
where the call is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.core import intake
from holdfast.core.access import OPERATIONS
from holdfast.core.calls import DROPPED, OLD_IDS
from holdfast.model import Struct

OPERATION_OF: Mapping[str, str] = {
    "batch_delete": "delete",
    "batch_update": "update",
    "chat": "search",
    "count": "get_all",
    "entity": "entities",
    "wait": "event",
}
"""The operation of `core.access` behind a verb that is not called like it."""

_OLD_IDS = ("user_id", "agent_id", "app_id", "run_id")
_OLD_FORM = frozenset({"search", "get_all"})
"""Verbs whose ids at the top level are Mem0 1.x's form."""


class Call(Struct, frozen=True):
    """The arguments of a call in today's form, and what its author is to be warned of."""

    given: dict[str, Any]
    warnings: tuple[tuple[str, type[Warning]], ...] = ()


def operation_of(verb: str) -> str:
    """The operation that a verb carries out. Raises KeyError for a verb the policy has no rule for.

    Every verb must be named by `access.OPERATIONS`, or lead there through `OPERATION_OF`.
    """
    operation = OPERATION_OF.get(verb, verb)
    if operation not in OPERATIONS:
        raise KeyError(f"no operation for the verb {verb}: name one in forms.OPERATION_OF")
    return operation


def is_repeatable(verb: str) -> bool:
    """Whether a call may be made again when nobody knows if it was carried out.

    True for what only reads, and for `add`, which carries an idempotency key.
    """
    return verb == "add" or OPERATIONS[operation_of(verb)].permission == "read"


def todays(verb: str, given: Mapping[str, Any]) -> Call:
    """The same call in today's form. Raises ValidationError."""
    call = dict(given)
    told: list[tuple[str, type[Warning]]] = []
    if verb in _OLD_FORM:
        ids = {name: call.pop(name, None) for name in _OLD_IDS}
        named = {name: value for name, value in ids.items() if value is not None}
        limit = call.pop("limit", None)
        if limit is not None:
            call["top_k"] = limit
        if named:
            told.append((OLD_IDS, DeprecationWarning))
            scope = intake.clean_scope(**named)
            written = {f"{one.kind}_id": one.id for one in scope.entities()}
            call["filters"] = _joined(written, call.get("filters"))
    dropped = _clean(call, "metadata")
    if isinstance(call.get("memories"), list | tuple):
        items = call["memories"]
        call["memories"] = [dict(one) if isinstance(one, Mapping) else one for one in items]
        cleaned = [_clean(one, "metadata") for one in call["memories"] if isinstance(one, dict)]
        dropped = any(cleaned) or dropped
    if dropped:
        told.append((DROPPED, UserWarning))
    return Call(call, tuple(told))


def _clean(call: dict[str, Any], name: str) -> bool:
    """Put metadata into its final form; whether identity keys had to be dropped from it."""
    if call.get(name) is None:
        return False
    call[name], dropped = intake.clean_metadata(call[name])
    return dropped


def _joined(ids: dict[str, str], filters: Any) -> dict[str, Any]:
    """Both, without making the filter deeper where that can be helped."""
    if not filters:
        return dict(ids)
    if isinstance(filters, Mapping) and ids.keys().isdisjoint(filters):
        return {**ids, **filters}
    return {"AND": [ids, filters]}
