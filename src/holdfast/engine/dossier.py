"""Everything that is known of a subject, section by section, in batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import msgspec

from holdfast.clock import iso
from holdfast.core.dossier import SECTIONS, Format, document, readable
from holdfast.core.shapes import memory_shape
from holdfast.directory import Row
from holdfast.engine import copies
from holdfast.engine.parts import Parts
from holdfast.errors import AccessError
from holdfast.model import Entity, Json
from holdfast.ports.subjects import TOLD

_SECRET = ("digest", "project")


async def written(parts: Parts, entity: Entity, form: Format) -> AsyncIterator[str]:
    """The document, piece by piece. Raises AccessError, StoreError."""
    if not parts.fence.is_open:
        raise AccessError("This credential may not export subjects.", hint="Use a project's key.")
    made = document(form)
    yield made.begin(
        {
            "kind": entity.kind,
            "id": entity.id,
            "project": parts.project,
            "made_at": iso(parts.clock.now()),
        }
    )
    for name in SECTIONS:
        yield made.section(name)
        async for row in rows(parts, entity, name):
            yield made.row(readable(row))
        yield made.section_end()
    yield made.end()


async def rows(parts: Parts, entity: Entity, name: str) -> AsyncIterator[Mapping[str, Json]]:
    """The rows of one section."""
    if name == "memories":
        ids = await parts.subjects.memory_ids(parts.project, entity)
        for some in copies.some_of(ids):
            for memory in await parts.records.fetch(parts.project, some):
                yield memory_shape(memory)
        return
    for copy in TOLD:
        if copy == name:
            async for row in parts.subjects.rows(parts.project, entity, copy):
                yield row
            return
    for one in await _directory(parts, entity, name):
        fields = msgspec.structs.asdict(one)
        yield {key: value for key, value in fields.items() if key not in _SECRET}


async def _directory(parts: Parts, entity: Entity, name: str) -> list[Row]:
    ids = await parts.subjects.memory_ids(parts.project, entity)
    match name:
        case "feedback":
            return [*await copies.feedback(parts, ids)]
        case "exports":
            return [*await copies.exports(parts, entity, ids)]
        case "held":
            return [*await copies.held(parts, entity)]
        case "deliveries":
            return [*await copies.deliveries(parts, entity, ids)]
        case "api_keys":
            return [*await copies.keys(parts, entity)]
        case "budgets":
            return [*await copies.budgets(parts, entity)]
        case "budget_periods":
            return [*await copies.spendings(parts, entity)]
    raise KeyError(name)
