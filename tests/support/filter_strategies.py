"""Random filters and memories from small pools, so that they meet: hostile keys, numbers that are
nearly or wrongly equal, texts that differ in case only, lists in metadata."""

from __future__ import annotations

from hypothesis import strategies as st

from holdfast.filters import And, Compare, Everything, Filter, Not, Nothing, Or
from holdfast.model import Json, Memory

IDS = ["a", "b", "al ice", "o'brien", '"; DROP TABLE memories; --', "ä/ß%_", "日本"]
TEXTS = [
    "",
    "Straße",
    "STRASSE",
    "strasse",
    "İstanbul",
    "i̇stanbul",
    'it\'s "fine"',
    "100% _done_ \\",
    "日本語",
    "🎉 e\u0301",
    "1",
    "true",
    "\u2028\x7f",
]
PARTS = ["", "s", "SS", "ß", "i", "İ", "'", '"', "%", "_", "\\", "本", "🎉", "e\u0301", "1"]
KEYS = ["k", "a.b", "$.k", '$."k"', 'q"uote', "o'k", "", "ключ", "[0]", "user_id", "?", "k "]
NUMBERS: list[int | float] = [
    *(0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 + 1, -(2**63) - 1, 10**30),
    *(-0.0, 1.0, 0.1, 0.3, 0.1 + 0.2, float(2**53), float(2**63), 1e30, 5e-324),
    *(1.7976931348623157e308, 9.007199254740993e15, 123456789.123456789),
]
CATEGORIES = ["food", "Food", "Straße", "STRASSE", "o'k", '"', "[]", "1"]
TIMES = [0.0, 1.5, -1.0, 1_700_000_000.0, 1_700_000_000.123456, 1_700_006_400.0, 4e9]
DAYS = ["2024-02-29", "2024-03-01", "1999-12-31"]
KINDS = ["fact", "turn", "summary"]

_TEXT_FIELDS = {
    **dict.fromkeys(("user_id", "agent_id", "app_id", "run_id", "actor_id", "id"), IDS),
    "role": ["user", "assistant", "o'k"],
    "kind": KINDS,
    "text": TEXTS,
    "expires_on": DAYS,
}
_TIME_FIELDS = ("event_at", "created_at", "updated_at")

texts = st.sampled_from(TEXTS)
scalars = st.one_of(texts, st.sampled_from(NUMBERS), st.booleans(), st.sampled_from(PARTS))
plain_values: st.SearchStrategy[Json] = st.recursive(
    st.one_of(scalars, st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=2)
    ),
    max_leaves=4,
)
maybe_id = st.one_of(st.none(), st.sampled_from(IDS))
times = st.sampled_from(TIMES)


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    """A memory of any shape that can be stored."""
    names = ("user_id", "agent_id", "app_id", "run_id", "actor_id")
    metadata = st.dictionaries(st.sampled_from(KEYS), plain_values, max_size=4)
    return Memory(
        id=draw(st.sampled_from(IDS)),
        hash="00",
        text=draw(texts),
        kind=draw(st.sampled_from(KINDS)),
        **{name: draw(maybe_id) for name in names},
        role=draw(st.sampled_from([None, "user", "assistant", "o'k"])),
        metadata=draw(st.one_of(st.none(), metadata)),
        categories=tuple(draw(st.lists(st.sampled_from(CATEGORIES), max_size=2, unique=True))),
        listed=draw(st.booleans()),
        event_at=draw(times),
        created_at=draw(times),
        updated_at=draw(times),
        expires_on=draw(st.sampled_from([None, *DAYS])),
    )


def _in(values: st.SearchStrategy[Json]) -> st.SearchStrategy[tuple[Json, ...]]:
    return st.lists(values, max_size=4).map(tuple)


def _compare(
    field: st.SearchStrategy[str], ops: str, values: st.SearchStrategy[Json]
) -> st.SearchStrategy[Compare]:
    return st.builds(Compare, field, st.sampled_from(ops.split()), values)


@st.composite
def _text_comparisons(draw: st.DrawFn) -> Compare:
    field = draw(st.sampled_from(sorted(_TEXT_FIELDS)))
    values = st.one_of(st.sampled_from(_TEXT_FIELDS[field]), st.sampled_from(PARTS))
    ops = "eq ne gt gte lt lte contains icontains"
    return draw(_any_comparison(st.just(field), ops, values))


def _any_comparison(
    field: st.SearchStrategy[str], ops: str, values: st.SearchStrategy[Json]
) -> st.SearchStrategy[Compare]:
    return st.one_of(
        _compare(field, ops, values),
        _compare(field, "in nin", _in(values)),
        _compare(field, "*", st.none()),
    )


_metadata_fields = st.sampled_from(KEYS).map("metadata.{}".format)
_orderable = st.one_of(texts, st.sampled_from(NUMBERS), st.sampled_from(PARTS))
_folds = st.one_of(texts, st.sampled_from(PARTS), texts.map(str.upper))

comparisons: st.SearchStrategy[Compare] = st.one_of(
    _text_comparisons(),
    _compare(st.just("text"), "contains icontains", _folds),
    _any_comparison(st.sampled_from(_TIME_FIELDS), "eq ne gt gte lt lte", times),
    _compare(st.just("listed"), "eq ne", st.booleans()),
    _any_comparison(
        st.just("categories"), "eq ne contains icontains", st.sampled_from([*CATEGORIES, "FOOD"])
    ),
    _any_comparison(_metadata_fields, "eq ne contains", scalars),
    _compare(_metadata_fields, "gt gte lt lte", _orderable),
    _compare(_metadata_fields, "icontains", _folds),
)

filters: st.SearchStrategy[Filter] = st.recursive(
    st.one_of(comparisons, comparisons, comparisons, st.just(Everything()), st.just(Nothing())),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)

_entity_conditions = st.dictionaries(
    st.sampled_from(["user_id", "agent_id", "app_id", "run_id", "session_id", "memory_ids"]),
    st.one_of(
        st.sampled_from([*IDS, "*", " a "]),
        st.lists(st.sampled_from([*IDS, "*"]), max_size=3),
        st.fixed_dictionaries({"ne": st.sampled_from(IDS)}),
        st.fixed_dictionaries({"in": st.lists(st.sampled_from(IDS), max_size=3)}),
    ),
    min_size=1,
    max_size=2,
)
_dates = st.sampled_from(["2023-11-14", "2023-11-15T00:00:00Z", 1_700_000_000, "1970-01-01"])
_other_conditions = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": st.one_of(_dates, st.dictionaries(st.sampled_from(["lte", "gt"]), _dates)),
        "expiration_date": st.sampled_from(["2024-02-29", None, "*"]),
        "keywords": st.sampled_from(PARTS),
        "categories": st.lists(st.sampled_from(CATEGORIES), max_size=2),
        "metadata": st.dictionaries(
            st.sampled_from(KEYS), st.one_of(scalars, st.none()), max_size=2
        ),
        "colour": st.one_of(scalars, st.fixed_dictionaries({"gte": _orderable})),
    },
)
_logical = st.sampled_from(["AND", "OR", "NOT"])

written_filters: st.SearchStrategy[dict[str, Json]] = st.recursive(
    st.one_of(_entity_conditions, _other_conditions),
    lambda inner: st.one_of(
        st.dictionaries(_logical, st.lists(inner, min_size=1, max_size=3), max_size=2),
        st.builds(dict.__or__, _entity_conditions, inner),
    ),
    max_leaves=4,
)
"""What callers may write: mostly valid."""

any_json: st.SearchStrategy[Json] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["AND", "NOT", "user_id", "created_at", "metadata", "in", "gte"]),
                st.text(max_size=5),
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)
"""What callers may get wrong."""
