"""Filters: one typed tree, the predicate that defines its meaning, and its parser.

Meaning. A comparison looks at one value of a memory: a field, or one top-level key of its metadata
(`metadata.<key>`; the key is literal, dots included). The value is *missing* if the key is absent,
the value is null, or there are no categories.

- `eq in gt gte lt lte contains icontains` are false on a missing value. `ne` is exactly "not `eq`"
  and `nin` "not `in`", so both are true on a missing value. `*` is true unless the value is missing
  (an empty list or text in metadata is not missing).
- Types never mix: text equals text; a number equals a number of the same mathematical value (1 and
  1.0; integers of any size exactly); true and false are no numbers; an object equals nothing.
- `gt gte lt lte` compare numbers with numbers, and text with text by code point.
- A list (categories, or a list in metadata) satisfies a comparison if one of its elements does, so
  `eq` and `contains` on a list are membership. Lists inside lists are not looked into.
- `contains` on text: occurs in it, letter for letter. `icontains`: the same after Unicode case
  folding of both sides; on a list, an element that is equal after folding.

Written filters (`parse_filter`). Sibling keys are ANDed; `NOT` of a list means none of them; a
plain value means `eq`, a plain list `in`, `"*"` any value, null no value. Keys are the fields and
Mem0's names for them (`timestamp`, `expiration_date`, `memory_ids`, `keywords`, `session_id`);
every other top-level key, `metadata.<key>`, and every key inside `metadata`, is a metadata key. A
date without a time stands for that whole day in UTC: `lte` includes it, `eq` is any moment of it.

Comparisons with True and with 1 differ in meaning but are equal for Python: key caches by
`msgspec.json.encode(filter)`, never by the tree itself.
"""

from __future__ import annotations

from holdfast.filters.covers import (
    Cover,
    cover_rank,
    covering_entities,
    entity_choices,
    named_scope,
    names_entities_only,
    scope_of_covers,
    within,
)
from holdfast.filters.parser import parse_filter
from holdfast.filters.predicate import compile_predicate, matches, matches_scope, value_test
from holdfast.filters.tree import (
    ENTITY_FIELDS,
    METADATA,
    OPS,
    And,
    Compare,
    Everything,
    Filter,
    Not,
    Nothing,
    Op,
    Or,
    conjunction,
    disjunction,
    negation,
    scope_filter,
)

__all__ = [
    "ENTITY_FIELDS",
    "METADATA",
    "OPS",
    "And",
    "Compare",
    "Cover",
    "Everything",
    "Filter",
    "Not",
    "Nothing",
    "Op",
    "Or",
    "compile_predicate",
    "conjunction",
    "cover_rank",
    "covering_entities",
    "disjunction",
    "entity_choices",
    "matches",
    "matches_scope",
    "named_scope",
    "names_entities_only",
    "negation",
    "parse_filter",
    "scope_filter",
    "scope_of_covers",
    "value_test",
    "within",
]
