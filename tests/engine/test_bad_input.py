"""Bad input to writing calls: a typed error that says what to do, and nothing has changed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from holdfast import Memory, limits
from holdfast.errors import FilterError, NotFoundError, TooLargeError, ValidationError
from holdfast.testing.hostile import REFUSED, STORABLE
from support.refusals import (
    ALICE,
    BAD_IDS,
    GOOD_IDS,
    INFINITY,
    NAN,
    SECRET,
    Case,
    Refusals,
    first_id,
    params,
    said,
)

BAD_TEXTS: list[Case] = [
    ("empty", "", ValidationError),
    ("whitespace", " \t\r\n\u3000", ValidationError),
    ("bytes", SECRET.encode(), ValidationError),
    ("none", None, ValidationError),
    ("number", 5, ValidationError),
    ("list-of-lists", [[SECRET]], ValidationError),
    *((f"refused-{n}", SECRET + text, ValidationError) for n, text in enumerate(REFUSED)),
]
TOO_LONG = SECRET + "x" * limits.TEXT_CHARS_MAX


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "kind"), params([*BAD_TEXTS, ("too-long", TOO_LONG, TooLargeError)])
    )
    def test_that_cannot_be_kept(
        self, text: Any, kind: Any, shared: Memory, refused: Refusals
    ) -> None:
        refused(kind, "add", text, **ALICE)
        refused(kind, "add", [{"role": "user", "content": text}], **ALICE)
        refused(kind, "search", text, filters=ALICE)
        if text is not None:  # means "as it is" in these places
            refused(kind, "update", first_id(shared), text)
            refused(kind, "update", first_id(shared), data=text)
            refused(kind, "add", "fine", prompt=text, **ALICE)

    def test_a_query_has_a_limit_of_its_own(self, refused: Refusals) -> None:
        refused(TooLargeError, "search", "x" * (limits.QUERY_CHARS_MAX + 1), filters=ALICE)

    @pytest.mark.parametrize("letter", ["x", "é", "語", "🎻"])
    def test_up_to_the_limit_they_are_kept(self, letter: str, shared: Memory) -> None:
        text = (letter * 9 + " ") * (limits.TEXT_CHARS_MAX // 10)
        text += letter * (limits.TEXT_CHARS_MAX - len(text))
        told = shared.add(text, user_id=f"author of {letter}")
        assert told["results"][0]["memory"] == text
        assert (shared.get(told["results"][0]["id"]) or {})["memory"] == text
        found = shared.search(
            letter * limits.QUERY_CHARS_MAX, filters={"user_id": f"author of {letter}"}
        )
        assert "degraded" not in found
        shared.delete_all(user_id=f"author of {letter}")

    @pytest.mark.parametrize("text", [text for text in STORABLE if text.strip()], ids=ascii)
    def test_every_other_text_comes_back_as_it_was(self, text: str, shared: Memory) -> None:
        told = shared.add(text, user_id="hostile", metadata={"same": text, text[:100]: [text]})
        [kept] = shared.get_all(filters={"user_id": "hostile"})["results"]
        assert kept["memory"] == told["results"][0]["memory"] == text
        assert kept["metadata"] == {"same": text, text[:100]: [text]}
        found = shared.search(text, filters={"user_id": "hostile"}, threshold=0)
        assert [hit["memory"] for hit in found["results"]] == [text]
        changed = shared.update(kept["id"], f"changed {text}")
        assert "updated" in changed["message"]
        assert [event["old_memory"] for event in shared.history(kept["id"])] == [None, text]
        assert shared.delete_all(user_id="hostile")["count"] == 1


class TestIds:
    @pytest.mark.parametrize(("name", "kind"), params(BAD_IDS))
    def test_that_name_nobody(self, name: Any, kind: Any, refused: Refusals) -> None:
        for field in ("user_id", "agent_id", "app_id", "run_id"):
            refused(kind, "add", "fine", **{field: name})
            refused(kind, "delete_all", **{field: name})
        refused(kind, "add", "fine", idempotency_key=name, **ALICE)
        refused(kind, "add", "fine", categories=["fine", name], **ALICE)
        refused(kind, "add", {"role": "user", "content": "fine", "name": name}, **ALICE)

    @pytest.mark.parametrize(
        ("name", "kind"),
        # lists, mappings and "*" mean something else in filters
        params([case for case in BAD_IDS if case[0] not in ("everybody", "list", "mapping")]),
    )
    def test_in_filters(self, name: Any, kind: Any, refused: Refusals) -> None:
        for verb in ("search", "get_all"):
            query = ["tea"] if verb == "search" else []
            refused(FilterError, verb, *query, filters={"user_id": name})
            with pytest.warns(DeprecationWarning, match="Top-level ids"):
                refused(kind, verb, *query, user_id=name)
        refused(FilterError, "count", {"run_id": {"in": ["r", name]}})

    @pytest.mark.parametrize(("name", "kind"), params([*BAD_IDS, ("none", None, ValidationError)]))
    def test_of_memories_and_events(self, name: Any, kind: Any, refused: Refusals) -> None:
        for verb in ("get", "delete", "history"):
            assert "`id` that add, search" in refused(kind, verb, name).hint
        refused(kind, "update", name, "fine")
        for verb in ("event", "wait", "rerun"):
            refused(kind, verb, name)

    def test_that_nobody_has(self, shared: Memory, refused: Refusals) -> None:
        for name in ("no-such", "%", "' OR 1=1 --", first_id(shared)[:-1]):
            refused(NotFoundError, "delete", name)
            refused(NotFoundError, "update", name, "fine")
            refused(NotFoundError, "event", name)
            refused(NotFoundError, "wait", name)
            refused(NotFoundError, "rerun", name)
            assert shared.get(name) is None
            assert shared.history(name) == []

    @pytest.mark.parametrize("name", GOOD_IDS, ids=ascii)
    def test_of_any_other_text_find_their_own_exactly(self, name: str, shared: Memory) -> None:
        told = shared.add("Mine alone.", user_id=name, run_id=f"run {name}"[: limits.ID_CHARS_MAX])
        mine = {"user_id": name}
        [found] = shared.get_all(filters=mine)["results"]
        assert (found["id"], found["user_id"]) == (told["results"][0]["id"], name)
        [found] = shared.search("Whose?", filters=mine, threshold=0)["results"]
        assert found["user_id"] == name
        assert shared.count({"user_id": {"in": [name, "nobody"]}}) == 1
        known = shared.entities(page_size=1_000)["results"]
        assert [one["total_memories"] for one in known if one["name"] == name] == [1]
        assert shared.delete_all(user_id=name)["count"] == 1
        assert shared.count(ALICE) == shared.count({"user_id": "bob"}) == 1

    def test_may_be_numbers_and_uuids(self, shared: Memory) -> None:
        shared.add("Mine alone.", user_id=2**63 - 1)
        assert shared.count({"user_id": str(2**63 - 1)}) == 1
        assert shared.delete_all(user_id=2**63 - 1)["count"] == 1


BAD_MESSAGES: list[Case] = [
    ("no-messages", [], ValidationError),
    ("empty-mapping", {}, ValidationError),
    ("set", {"x"}, ValidationError),
    ("generator", (text for text in [SECRET]), ValidationError),
    ("none-inside", ["fine", None], ValidationError),
    ("number-inside", ["fine", 5], ValidationError),
    ("list-inside", [["user", SECRET]], ValidationError),
    ("only-system", [{"role": "system", "content": SECRET}], ValidationError),
    ("unknown-role", said(role=f"wizard {SECRET}", content="x"), ValidationError),
    ("no-role", said(role=None, content="x"), ValidationError),
    ("role-list", said(role=["user", SECRET], content="x"), ValidationError),
    ("role-mapping", said(role={SECRET: 1}, content="x"), ValidationError),
    ("no-content", said(role="user"), ValidationError),
    ("content-none", said(role="assistant", content=None), ValidationError),
    ("content-number", said(role="user", content=5), ValidationError),
    ("content-bytes", said(role="user", content=SECRET.encode()), ValidationError),
    ("no-parts", said(role="user", content=[]), ValidationError),
    ("part-is-text", said(role="user", content=[SECRET]), ValidationError),
    ("part-without-type", said(role="user", content=[{"text": SECRET}]), ValidationError),
    ("part-type-list", said(role="user", content=[{"type": [SECRET]}]), ValidationError),
    ("part-without-text", said(role="user", content=[{"type": "text"}]), ValidationError),
    (
        "image",
        said(role="user", content=[{"type": "image_url", "image_url": {"url": SECRET}}]),
        ValidationError,
    ),
    ("lone-image", said(role="user", content={"type": "image", "data": SECRET}), ValidationError),
    ("audio", said(role="user", content=[{"type": "input_audio"}]), ValidationError),
    (
        "long-parts",
        said(role="user", content=[{"type": "text", "text": TOO_LONG[:-20]}] * 2),
        TooLargeError,
    ),
    ("date", said(role="user", content="x", timestamp=f"someday {SECRET}"), ValidationError),
    ("many", ["fine"] * (limits.MESSAGES_PER_ADD_MAX + 1), TooLargeError),
    ("long-together", ["x" * limits.TEXT_CHARS_MAX] * 9, TooLargeError),
]


class TestMessages:
    @pytest.mark.parametrize(("messages", "kind"), params(BAD_MESSAGES))
    def test_of_the_wrong_shape(self, messages: Any, kind: Any, refused: Refusals) -> None:
        refused(kind, "add", messages, **ALICE)

    def test_the_place_is_named_and_images_explained(self, refused: Refusals) -> None:
        image = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
        error = refused(ValidationError, "add", ["fine", {"content": [image]}], **ALICE)
        assert error.message.startswith("messages[1].content")
        assert "vision" in error.hint

    def test_a_message_without_content_is_told(self, refused: Refusals) -> None:
        for item in ({"role": "user", "contents": "x"}, {"role": "user", "content": None}):
            error = refused(ValidationError, "add", ["fine", item], **ALICE)
            assert error.message == "messages[1] has no content."
            assert "'content'" in error.hint

    def test_nobody_is_named(self, refused: Refusals) -> None:
        refused(ValidationError, "add", "fine")
        refused(ValidationError, "delete_all")
        refused(ValidationError, "add", "fine", metadata=None, user_id=None)


def endless(breadth: int) -> dict[str, Any]:
    """A mapping that contains itself several times: walking it all would take for ever."""
    whole: dict[str, Any] = {"a": 1}
    whole["self"] = [whole] * breadth
    return whole


def multiplied(levels: int) -> list[Any]:
    """A few lists that, written out, would be 20 to the power of `levels` values."""
    whole: list[Any] = [0]
    for _ in range(levels):
        whole = [whole] * 20
    return whole


def deep(levels: int, bottom: Any = 1) -> dict[str, Any]:
    whole: dict[str, Any] = {"x": bottom}
    for _ in range(levels):
        whole = {"x": whole}
    return whole


BAD_METADATA: list[Case] = [
    ("text", SECRET, ValidationError),
    ("list", [SECRET], ValidationError),
    ("nan", {"a": NAN}, ValidationError),
    ("infinity", {"a": [1, -INFINITY]}, ValidationError),
    ("number-key", {5: SECRET}, ValidationError),
    ("none-key", {None: SECRET}, ValidationError),
    ("inner-number-key", {"a": [{5: SECRET}]}, ValidationError),
    ("cycle", endless(1), TooLargeError),
    ("wide-cycle", endless(40), TooLargeError),
    ("multiplied", {"a": multiplied(limits.METADATA_DEPTH_MAX - 3)}, TooLargeError),
    ("deep", deep(limits.METADATA_DEPTH_MAX), TooLargeError),
    ("very-deep", deep(100_000), TooLargeError),
    ("many", {"a": [0] * 3_000_000}, TooLargeError),
    ("long", {"a": SECRET + "x" * limits.METADATA_BYTES_MAX}, TooLargeError),
    ("long-in-bytes", {"a": "語" * (limits.METADATA_BYTES_MAX // 3)}, TooLargeError),
    ("long-key", {SECRET + "x" * limits.METADATA_BYTES_MAX: 1}, TooLargeError),
    ("bytes", {"a": SECRET.encode()}, ValidationError),
    ("object", {"a": object()}, ValidationError),
    ("decimal", {"a": Decimal(1)}, ValidationError),
    ("65-bits", {"a": 2**63}, ValidationError),
    *((f"refused-{n}", {"a": SECRET + text}, ValidationError) for n, text in enumerate(REFUSED)),
    *((f"key-{n}", {SECRET + text: 1}, ValidationError) for n, text in enumerate(REFUSED)),
    *((f"in-{n}", {"a": {SECRET + t: 1}}, ValidationError) for n, t in enumerate(REFUSED)),
]


class TestMetadata:
    @pytest.mark.parametrize(("metadata", "kind"), params(BAD_METADATA))
    def test_that_is_no_json_or_too_much(
        self, metadata: Any, kind: Any, shared: Memory, refused: Refusals
    ) -> None:
        refused(kind, "add", "fine", metadata=metadata, **ALICE)
        refused(kind, "update", first_id(shared), metadata=metadata)

    def test_up_to_the_limits_it_is_kept(self, shared: Memory) -> None:
        for metadata in (
            deep(limits.METADATA_DEPTH_MAX - 1),
            {"a": "x" * (limits.METADATA_BYTES_MAX - len('{"a":""}'))},
            {"a": [2**63 - 1, -(2**63), 1e308, True, None, "", [], {}], "": " "},
        ):
            told = shared.add("fine", metadata=metadata, user_id="limit")
            kept = shared.get(told["results"][0]["id"])
            assert kept is not None
            assert kept["metadata"] == metadata
        shared.delete_all(user_id="limit")

    @pytest.mark.parametrize(
        "categories",
        ["food", {"food": 1}, 5, [None], [["food"]], [str(n) for n in range(65)], iter(["food"])],
        ids=["text", "mapping", "number", "none", "nested", "many", "iterator"],
    )
    def test_categories_that_are_none(self, categories: Any, refused: Refusals) -> None:
        kind = ValidationError if not isinstance(categories, list) or len(categories) < 65 else (
            TooLargeError
        )  # fmt: skip
        refused(kind, "add", "fine", categories=categories, **ALICE)
