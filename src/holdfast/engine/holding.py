"""Which messages of an add are held, and the row that keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from holdfast.acts import actor_now
from holdfast.core.trust import Given, Reason, held_places, policy_of
from holdfast.directory import Held
from holdfast.engine.parts import Parts
from holdfast.errors import ValidationError
from holdfast.model import Json, Struct

if TYPE_CHECKING:
    from holdfast.engine.add import AddRequest, LetIn


class TurnedDown(Struct, frozen=True, kw_only=True):
    """Held turns that somebody rejected."""

    held_id: str
    principal: str
    messages: tuple[int, ...] = ()
    """Numbers of the rejected ones, if some stay held."""
    rest: Held | None = None
    """The others, which stay held."""


async def held_of(parts: Parts, request: AddRequest) -> tuple[tuple[int, ...], Held | None]:
    """The places of the messages that are held, and the row they are kept in; none, if none is."""
    settings = await parts.project_settings.of(parts.directory, parts.project)
    given = Given(
        call=request.trust,
        key=parts.trust,
        configuration=parts.trust_policy,
        project=policy_of(settings),
    )
    places = held_places(request.said, given)
    return tuple(places), _row(parts, request, places) if places else None


def decided(one: LetIn | TurnedDown) -> dict[str, Json]:
    """What the job notes of a decision: who decided, and what stays held."""
    told: dict[str, Json] = {"id": one.held_id, "by": one.principal}
    if one.rest is not None:
        told |= {"messages": list(one.messages), "rest": one.rest.id}
    return told


def split(parts: Parts, held: Held, numbers: Sequence[int]) -> tuple[Held, Held | None]:
    """The messages that a decision is about (all, if it gives no numbers), and the others.

    The others stay held under a new id. So a number always means the message that was shown with
    it, even if somebody else decided on some of them meanwhile. Raises ValidationError.
    """
    count = len(held.messages)
    if not all(1 <= number <= count for number in numbers):
        raise ValidationError(
            f"messages: {held.id} has the messages 1 to {count}.",
            hint="`quarantine show` tells which.",
        )
    meant = [one for number, one in enumerate(held.messages, 1) if number in numbers]
    if len(meant) in (0, count):
        return held, None
    others = [one for number, one in enumerate(held.messages, 1) if number not in numbers]
    rest = replace(held, id=parts.ids.new(), messages=tuple(others))
    return replace(held, messages=tuple(meant)), rest


def _row(parts: Parts, request: AddRequest, places: Mapping[int, tuple[Reason, ...]]) -> Held:
    now, scope, actor = parts.clock.now(), request.scope, actor_now()
    return Held(
        id=parts.ids.new(),
        project=parts.project,
        user_id=scope.user_id,
        agent_id=scope.agent_id,
        app_id=scope.app_id,
        run_id=scope.run_id,
        messages=tuple(_message(request, place, now, reasons) for place, reasons in places.items()),
        request={
            "metadata": request.metadata,
            "categories": list(request.categories),
            "expires_on": request.expires_on,
            "infer": request.infer,
            "procedural": request.procedural,
            "instructions": request.instructions,
            "custom_categories": list(request.custom_categories),
            "immutable": request.immutable,
            "temporal_reasoning": request.temporal_reasoning,
        },
        principal=actor.principal,
        principal_kind=actor.kind,
        via=actor.via,
        created_at=now,
    )


def _message(
    request: AddRequest, place: int, now: float, reasons: tuple[Reason, ...]
) -> dict[str, Json]:
    """A message as it is kept: with the time it was said, not the time it is approved."""
    one, base = request.said[place], now if request.at is None else request.at
    return {
        "role": one.role,
        "text": one.text,
        "actor_id": one.actor_id,
        "at": base if one.at is None else one.at,
        "reasons": list(reasons),
    }
