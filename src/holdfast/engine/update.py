"""`update`: change one memory in place; identity and creation time stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from holdfast.core.identity import content_hash, fact_identity
from holdfast.engine.embedding import terms_of, vectors_of
from holdfast.engine.ledger import Payer
from holdfast.engine.parts import Parts
from holdfast.engine.read import get
from holdfast.errors import NotFoundError
from holdfast.model import Json, Memory, Struct
from holdfast.ports import EditMemory


class UpdateRequest(Struct, frozen=True, kw_only=True):
    """A validated update."""

    memory_id: str
    text: str | None = None
    metadata: Mapping[str, Json] | None = None
    expires_on: str | None = None
    set_expires: bool = False
    event_at: float | None = None


async def update(parts: Parts, request: UpdateRequest) -> Memory:
    """Carry out the update; returns the memory as it is afterwards.

    Raises NotFoundError; ConflictError if another memory of the scope already says the new text;
    ModelError if the embedder is away (nothing was changed).
    """
    old = await get(parts, request.memory_id)
    if old is None:
        raise unknown(request.memory_id)
    edit = EditMemory(
        memory_id=request.memory_id,
        at=parts.clock.now(),
        metadata=request.metadata,
        expires_on=request.expires_on,
        set_expires=request.set_expires,
        event_at=request.event_at,
    )
    if request.text is not None and request.text != old.text:
        edit = await _with_text(parts, edit, old, request.text)
    [changed] = await parts.records.commit(parts.project, [edit])
    if changed is None:
        raise unknown(request.memory_id)
    return cast("Memory", changed)


async def _with_text(parts: Parts, edit: EditMemory, old: Memory, text: str) -> EditMemory:
    payer = Payer(project=parts.project, operation="update", scope=old.scope)
    [vector] = await vectors_of(parts, [text], payer)
    kind = old.kind
    # an edited turn is no longer what was said at that moment: it is told apart by its own id
    identity = (
        old.id.encode()
        if kind == "turn"
        else fact_identity(kind, old.scope, text, parts.content_key)
    )
    return EditMemory(
        memory_id=edit.memory_id,
        at=edit.at,
        metadata=edit.metadata,
        expires_on=edit.expires_on,
        set_expires=edit.set_expires,
        event_at=edit.event_at,
        text=text,
        hash=content_hash(text, parts.content_key),
        identity=None if old.valid_to is not None else identity,
        terms=terms_of(parts, text, old.actor_id, old.role),
        vector=vector,
    )


def unknown(memory_id: str) -> NotFoundError:
    """The error for an id this project does not have."""
    return NotFoundError(
        f"Memory with id {memory_id} not found.", hint="`get_all` and `search` tell ids."
    )
