"""Our own routes: one for each verb of `AsyncMemory`, with its arguments and its answers.

The routes are made from the methods' signatures, so that none can be forgotten. A body is a JSON
object of the method's arguments, the answer is what the method returns. The method itself validates
its arguments: an error says the same here as in a program that calls it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from fastapi import Depends, Request

from holdfast.client import AsyncMemory
from holdfast.core.affinity import users_in
from holdfast.core.forms import operation_of, todays
from holdfast.errors import ValidationError
from holdfast.limits import ID_CHARS_MAX
from holdfast.server.context import Context, allow
from holdfast.server.own.documents import arguments_schema, returns_schema
from holdfast.server.reading import json_body
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

NOT_VERBS = frozenset({"open", "close", "aclose", "from_config"})
"""Public methods of `AsyncMemory` that concern the caller's own process."""

_KEY_HEADER = "Idempotency-Key"
KEY_PARAMETER = {
    "name": _KEY_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": ID_CHARS_MAX},
    "description": "The same as the argument `idempotency_key`.",
}

route = Routes("Holdfast")
router = route.router


def verbs() -> dict[str, Any]:
    """The methods of `AsyncMemory` that have a route, by name."""
    return {
        name: method
        for name, method in vars(AsyncMemory).items()
        if not name.startswith("_") and name not in NOT_VERBS
    }


def _register(verb: str, method: Any) -> None:
    parameters = dict(inspect.signature(method).parameters)
    parameters.pop("self")
    names = frozenset(parameters)
    required = [name for name, one in parameters.items() if one.default is one.empty]
    allowed = Depends(allow(operation_of(verb)))
    whole, _, rest = inspect.cleandoc(method.__doc__).partition("\n\n")
    schema = arguments_schema(verb, method)

    @route(
        "POST",
        f"/holdfast/{verb}",
        name=verb,
        operation_id=f"holdfast_{verb}",
        summary=" ".join(whole.split()),
        description=rest,
        responses={200: returns_schema(method)},
        openapi_extra={
            "requestBody": {
                "required": bool(required),
                "content": {"application/json": {"schema": schema}},
            },
            **({"parameters": [KEY_PARAMETER]} if "idempotency_key" in names else {}),
        },
    )
    async def carry_out(request: Request, context: Context = allowed) -> Reply:
        given = _with_key(await json_body(request), request.headers.get(_KEY_HEADER), names)
        _check(verb, given, names, required)
        call = todays(verb, given)
        for user in users_in(call.given):
            await context.count_user(user)
        answer = getattr(context.memory, verb)(**call.given)
        return Reply(await answer if inspect.isawaitable(answer) else answer)


def _with_key(given: dict[str, Any], key: str | None, names: frozenset[str]) -> Mapping[str, Any]:
    """The arguments, with the key that the header tells. Raises ValidationError."""
    if key is None or "idempotency_key" not in names:
        return given
    if given.get("idempotency_key") not in (None, key):
        raise ValidationError(
            f"idempotency_key and the header {_KEY_HEADER} are different.", hint="Send one of them."
        )
    return {**given, "idempotency_key": key}


def _check(verb: str, given: Mapping[str, Any], names: frozenset[str], required: list[str]) -> None:
    """Arguments that there are, and all that there must be. Raises ValidationError."""
    known = ", ".join(sorted(names)) or "none"
    if not names.issuperset(given):
        raise ValidationError(
            f"{verb} has no such argument as one of the body's.", hint=f"It has: {known}."
        )
    missing = [name for name in required if name not in given]
    if missing:
        raise ValidationError(
            f"{verb} needs {', '.join(missing)}.", hint="Put it into the body, a JSON object."
        )


for _verb, _method in verbs().items():
    _register(_verb, _method)
