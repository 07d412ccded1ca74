"""Arguments of a call in either generation's form: filters, pages, metadata."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast import limits
from holdfast.caller import warn
from holdfast.core import intake
from holdfast.filters import Filter, conjunction, parse_filter, scope_filter
from holdfast.model import Json

OLD_IDS = "Top-level ids are Mem0 1.x's form; use filters={'user_id': ...}."
DROPPED = "Identity keys in metadata were dropped: identity is set by arguments only."


def call_filter(filters: Mapping[str, Json] | None, old: Mapping[str, str | None]) -> Filter:
    """The filter of a call, in either generation's form."""
    named = {name: value for name, value in old.items() if value is not None}
    if not named:
        return parse_filter(filters, require_entity=True)
    warn(OLD_IDS, DeprecationWarning)
    scope = scope_filter(intake.clean_scope(**named))
    if not filters:
        return scope
    return conjunction(scope, parse_filter(filters, require_entity=False))


def either(first: int | None, second: int) -> int:
    """The older name's value if it was given, else the newer one's."""
    return second if first is None else first


def page_span(page: int, page_size: int) -> tuple[int, int]:
    """Offset and size of a numbered page."""
    size = intake.clean_count(page_size, "page_size", limits.PAGE_SIZE_MAX)
    return (intake.clean_count(page, "page", limits.PAGE_MAX) - 1) * size, size


def call_metadata(value: object) -> dict[str, Json] | None:
    """Metadata as JSON values; warns the caller if identity keys had to be dropped from it."""
    metadata, dropped = intake.clean_metadata(value)
    if dropped:
        warn(DROPPED, UserWarning)
    return metadata
