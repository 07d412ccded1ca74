"""Which messages of an add are held, and the row that keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from holdfast.acts import actor_now
from holdfast.core.trust import Given, Reason, held_places, policy_of
from holdfast.directory import Held
from holdfast.engine.parts import Parts
from holdfast.model import Json

if TYPE_CHECKING:
    from holdfast.engine.add import AddRequest


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
    """A message as it is kept: it was said when it was said, whenever it is let in."""
    one, base = request.said[place], now if request.at is None else request.at
    return {
        "role": one.role,
        "text": one.text,
        "actor_id": one.actor_id,
        "at": base if one.at is None else one.at,
        "reasons": list(reasons),
    }
