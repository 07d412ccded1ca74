"""`update`: change one memory in place; identity and creation time stay."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from msgspec.structs import replace

from holdfast.core.calls import call_metadata
from holdfast.core.identity import content_hash, fact_identity
from holdfast.core.intake import clean_text
from holdfast.core.outcome import unchangeable
from holdfast.engine.embedders import Pair
from holdfast.engine.embedding import Embedded, terms_of, vectors_of
from holdfast.engine.ledger import Payer, payer_of
from holdfast.engine.origins import origin_now
from holdfast.engine.parts import Parts
from holdfast.engine.read import get, inside_of
from holdfast.engine.redaction import storable_text
from holdfast.errors import NotFoundError, ValidationError
from holdfast.model import Json, Memory, Scope, Struct
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

    Raises NotFoundError; ConflictError if it is immutable or another memory of the scope already
    says the new text; ModelError if the embedder is away (nothing was changed).
    """
    old = await get(parts, request.memory_id)
    if old is None:
        raise unknown(request.memory_id)
    _check_changeable(old)
    edit = _edit(parts, request)
    new = await storable_text(parts.hiding, request.text)
    said = new if new != old.text else None

    async def attempt(pair: Pair) -> Json:
        worded = edit
        if said is not None:
            [one] = await vectors_of(parts, [said], _payer(parts, old.scope), pair)
            worded = _with_text(parts, edit, old, said, one)
        [changed] = await parts.records.commit(parts.project, [worded])
        return changed

    changed = await parts.embedders.with_pair(attempt)
    if changed is None:
        raise unknown(request.memory_id)
    return cast("Memory", changed)


def batch_of(ids: Sequence[str], memories: Sequence[Mapping[str, Json]]) -> list[UpdateRequest]:
    """The updates of a batch, `{"text"?, "metadata"?}` each. Raises ValidationError."""
    requests = []
    for id_, one in zip(ids, memories, strict=True):
        text = one.get("text")
        request = UpdateRequest(
            memory_id=id_,
            text=None if text is None else clean_text(text, "text"),
            metadata=call_metadata(one.get("metadata")),
        )
        if request.text is None and request.metadata is None:
            raise ValidationError(
                f"Nothing to update in {id_}.", hint="Give text or metadata for each memory."
            )
        requests.append(request)
    return requests


async def update_several(parts: Parts, requests: Sequence[UpdateRequest]) -> None:
    """Carry out several updates of different memories, all or none. Raises like `update`."""
    known = await inside_of(parts, [request.memory_id for request in requests])
    old = {memory.id: memory for memory in known}
    requests = [replace(one, text=await storable_text(parts.hiding, one.text)) for one in requests]
    edits = []
    for request in requests:
        if request.memory_id not in old:
            raise unknown(request.memory_id)
        _check_changeable(old[request.memory_id])
        edits.append(_edit(parts, request))
    said = {
        one.memory_id: one.text
        for one in requests
        if one.text is not None and one.text != old[one.memory_id].text
    }

    async def attempt(pair: Pair) -> None:
        by_id: dict[str, Embedded] = {}
        for scope in dict.fromkeys(old[id_].scope for id_ in said):  # each pays for its own
            ids = [id_ for id_ in said if old[id_].scope == scope]
            texts = [said[id_] for id_ in ids]
            vectors = await vectors_of(parts, texts, _payer(parts, scope), pair)
            by_id |= dict(zip(ids, vectors, strict=True))
        # analysing many texts would keep the event loop from other callers
        worded = await asyncio.to_thread(_worded, parts, edits, old, said, by_id)
        await parts.records.commit(parts.project, worded)

    await parts.embedders.with_pair(attempt)


def _worded(
    parts: Parts,
    edits: Sequence[EditMemory],
    old: Mapping[str, Memory],
    said: Mapping[str, str],
    vectors: Mapping[str, Embedded],
) -> list[EditMemory]:
    """The edits, with the new text of those that have one."""
    return [
        _with_text(parts, edit, old[id_], said[id_], vectors[id_])
        if (id_ := edit.memory_id) in said
        else edit
        for edit in edits
    ]


def _check_changeable(old: Memory) -> None:
    """Before a model is paid for a text that the store would refuse."""
    if old.immutable:
        raise unchangeable(old.id)


def _payer(parts: Parts, scope: Scope) -> Payer:
    return payer_of(parts, "update", scope)


def _edit(parts: Parts, request: UpdateRequest) -> EditMemory:
    return EditMemory(
        memory_id=request.memory_id,
        at=parts.clock.now(),
        metadata=request.metadata,
        expires_on=request.expires_on,
        set_expires=request.set_expires,
        event_at=request.event_at,
        origin=origin_now("edited"),
    )


def _with_text(parts: Parts, edit: EditMemory, old: Memory, text: str, one: Embedded) -> EditMemory:
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
        origin=edit.origin,
        text=text,
        hash=content_hash(text, parts.content_key),
        identity=None if old.valid_to is not None else identity,
        terms=terms_of(parts, text, old.actor_id, old.role),
        vector=one.vector,
        shadow=one.shadow,
        epoch=one.epoch,
    )


def unknown(memory_id: str) -> NotFoundError:
    """The error for an id this project does not have."""
    return NotFoundError(
        f"Memory with id {memory_id} not found.", hint="`get_all` and `search` tell ids."
    )
