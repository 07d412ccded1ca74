"""Reads chat exports: from a decoded JSON value to records ready to be stored. Pure.

Seven forms are known, told apart by their content (`detect`):

* `jsonl`: one memory or message a line, as `holdfast export` writes it; also in a list, or in
  the `results` of an answer, as a listing of ours or Mem0's gives it
* `openai`: `[{"role", "content"}]`, `{"messages": [...]}`, or a list of the latter
* `chatgpt`: the `conversations.json` of ChatGPT's data export (a tree in `mapping`)
* `sharegpt`: `{"conversations": [{"from", "value"}]}`, or with `role` and `content`
* `locomo`, `longmemeval`: the research sets' own files
* `neutral`: `{"conversation_id", "turns": [{"id", "session", "speaker", "date", "text"}]}`

What a form holds and memory does not take (system prompts, tool output, pictures) is yielded as
`Skip`, so that the caller can say how much was left out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from holdfast.core.moment import moment
from holdfast.errors import ValidationError
from holdfast.model import Json, Scope, Struct

Format = Literal["jsonl", "openai", "chatgpt", "sharegpt", "locomo", "longmemeval", "neutral"]
FORMATS: tuple[Format, ...] = get_args(Format)

TURN_STEP_S = 1.0
"""Seconds between turns whose source gives them one common time, so that their order is kept."""


class Record(Struct, frozen=True, kw_only=True):
    """One message or memory of an export."""

    text: str
    role: str = "user"
    name: str | None = None
    """Who spoke, when the export says more than the role."""
    at: float | None = None
    """When it was said, epoch seconds UTC; None when the export does not say."""
    scope: Scope = Scope()
    metadata: Mapping[str, Json] | None = None
    categories: tuple[str, ...] = ()
    expires_on: str | None = None
    immutable: bool = False
    turn_id: str = ""
    """The turn's name inside its conversation; empty when it has none."""


class Skip(Struct, frozen=True):
    """A part of an export that memory does not take."""

    reason: str


Parsed = Record | Skip

_LINK_MARK = re.compile("\ue200[^\ue201]*\ue201")
_ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
}
_TOOL_ROLES = {"tool": "tool", "function": "function"}
_UNSTORED = {
    "system": "system messages",
    "developer": "system messages",
    "tool": "tool messages",
    "function": "tool messages",
    "function_call": "tool messages",
    "observation": "tool messages",
}
# fmt: off
_LINE_KEYS = frozenset({
    "memory", "text", "content", "role", "actor_id", "name", "user_id", "agent_id", "app_id",
    "run_id", "session_id", "event_at", "timestamp", "created_at", "metadata", "categories",
    "expiration_date", "expires_on", "immutable",
})
_LINE_KEYS_DERIVED = frozenset({
    "id", "hash", "score", "score_details", "updated_at", "version", "kind", "valid_from",
    "valid_to", "superseded_by", "attributed_to", "memory_type",
})
# fmt: on


# --- telling the forms apart ------------------------------------------------------------------


def detect(value: Json) -> Format:
    """The form of a whole decoded file.

    Raises:
        ValidationError: no form fits, or more than one does.
    """
    return _decide(_candidates(_sample(value)))


def detect_line(value: Json) -> Format:
    """The form of one line of a JSONL file: `jsonl`, or a conversation form, one a line.

    Raises:
        ValidationError: no form fits, or more than one does.
    """
    return "jsonl" if is_line(value) else _decide(_candidates(value))


def is_line(value: Json) -> bool:
    """Whether this is one memory or message: a line of the form `jsonl`."""
    if not isinstance(value, dict):
        return False
    found = _candidates(value)
    return found == ["jsonl"] or (found == ["openai"] and "role" in value)


def _sample(value: Json) -> Json:
    """The first element of a list (of its first list, at most), anything else as it is."""
    for _ in range(2):
        if isinstance(value, list) and value:
            value = value[0]
    return value


def _candidates(value: Json) -> list[Format]:
    if not isinstance(value, dict):
        return []
    stored = "content" not in value and bool(value.keys() & {"memory", "text"})
    signs: dict[Format, bool] = {
        "openai": ("role" in value and not stored) or isinstance(value.get("messages"), list),
        "chatgpt": isinstance(value.get("mapping"), dict),
        "sharegpt": isinstance(value.get("conversations"), list),
        "locomo": isinstance(value.get("conversation"), dict),
        "longmemeval": "haystack_sessions" in value,
        "neutral": isinstance(value.get("turns"), list),
    }
    found = [form for form, seen in signs.items() if seen]
    return found or (["jsonl"] if stored else [])


def _decide(found: list[Format]) -> Format:
    if len(found) == 1:
        return found[0]
    known = ", ".join(FORMATS)
    if not found:
        raise ValidationError(
            "this is not a chat export in a form that is known.",
            hint=f"Name its form with --format ({known}).",
        )
    raise ValidationError(
        f"this could be {' or '.join(found)}.", hint="Name its form with --format."
    )


# --- records of each form ---------------------------------------------------------------------


def records(item: Json, form: Format, *, number: int = 1) -> Iterator[Parsed]:
    """The records of one conversation (one element of a file's list, or a whole-file object).

    Args:
        item: decoded JSON.
        form: as told by `detect`.
        number: the item's place in the file, from 1; it names a conversation that has no id.

    Raises:
        ValidationError: the item does not have the shape of its form; names the place.
    """
    try:
        yield from _READERS[form](item, number)
    except ValidationError as fault:
        raise ValidationError(f"item {number}: {fault.message}", hint=fault.hint) from fault
    except (KeyError, TypeError, AttributeError, ValueError) as fault:
        raise ValidationError(
            f"item {number} does not have the shape of {form} ({_shape_fault(fault)})."
        ) from fault


def _shape_fault(fault: Exception) -> str:
    return f"no {fault.args[0]!r}" if isinstance(fault, KeyError) else "a value does not fit"


def _line(item: Json, number: int) -> Iterator[Parsed]:
    """A memory or message that stands alone: the form of `holdfast export`."""
    if not isinstance(item, dict):
        raise ValidationError("this does not have the shape of a memory, a JSON object.")
    for key in item.keys() - _LINE_KEYS - _LINE_KEYS_DERIVED:
        near = difflib.get_close_matches(key, _LINE_KEYS, n=1)
        yield Skip(f"unknown key {key!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    text = _first(item, "memory", "text", "content")
    if text is None:
        raise ValidationError('there is no "memory", "text" or "content".')
    scope = Scope(
        user_id=_name(item.get("user_id")),
        agent_id=_name(item.get("agent_id")),
        app_id=_name(item.get("app_id")),
        run_id=_name(_first(item, "run_id", "session_id")),
    )
    yield from _message(
        role=item.get("role") or "user",
        content=text,
        name=_name(_first(item, "actor_id", "name")),
        at=moment(_first(item, "event_at", "timestamp", "created_at")),
        scope=scope,
        metadata=item.get("metadata"),
        categories=_listed(item.get("categories")),
        expires_on=_first(item, "expiration_date", "expires_on"),
        immutable=item.get("immutable") is True,
        tools=True,
    )


def _openai(item: Json, number: int) -> Iterator[Parsed]:
    """A list of messages, an object that holds one, or a single message."""
    scope = Scope()
    if isinstance(item, dict) and "messages" in item:
        scope = Scope(run_id=_name(_first(item, "conversation_id", "id")))
        item = item["messages"]
    for message in item if isinstance(item, list) else [item]:
        yield from _message(
            role=message["role"],
            content=message.get("content"),
            name=_name(message.get("name")),
            at=moment(_first(message, "timestamp", "created_at", "create_time")),
            scope=scope,
        )


def _chatgpt(item: Json, number: int) -> Iterator[Parsed]:
    """The branch of the tree that the user sees, from its root to the current node.

    What the assistant says to a tool, and marks that stand for links, were not seen.
    """
    scope = Scope(run_id=_name(_first(item, "conversation_id", "id")) or f"conversation-{number}")
    for node in _branch(item["mapping"], item.get("current_node")):
        message = node.get("message")
        if not message:
            continue
        if (message.get("metadata") or {}).get("is_visually_hidden_from_conversation"):
            yield Skip("hidden messages")
            continue
        if message.get("recipient") not in (None, "", "all"):
            yield Skip("tool messages")
            continue
        content = message.get("content") or {}
        yield from _message(
            role=message["author"]["role"],
            content=_unmarked(content.get("parts") or content.get("text")),
            name=_name(message["author"].get("name")),
            at=moment(message.get("create_time")),
            scope=scope,
        )


def _unmarked(content: Json) -> Json:
    """Texts without ChatGPT's marks of links, which private characters enclose."""
    if isinstance(content, list):
        return [_unmarked(part) for part in content]
    return _LINK_MARK.sub("", content) if isinstance(content, str) else content


def _branch(mapping: dict[str, Json], leaf: str | None) -> list[Json]:
    """Nodes from the root to `leaf`; without one, to the last node that has no children."""
    if leaf not in mapping:
        ends = [key for key, node in mapping.items() if not node.get("children")]
        leaf = ends[-1] if ends else None
    path: list[Json] = []
    while leaf is not None and leaf in mapping and len(path) <= len(mapping):
        path.append(mapping[leaf])
        leaf = mapping[leaf].get("parent")
    if len(path) > len(mapping):
        raise ValidationError('the tree in "mapping" runs in a circle.')
    return path[::-1]


def _sharegpt(item: Json, number: int) -> Iterator[Parsed]:
    scope = Scope(run_id=_name(item.get("id")))
    for message in item["conversations"]:
        if "from" not in message and "role" in message:  # as many data sets have it
            yield from _message(role=message["role"], content=message.get("content"), scope=scope)
        else:
            yield from _message(role=message["from"], content=message["value"], scope=scope)


def _locomo(item: Json, number: int) -> Iterator[Parsed]:
    """Sessions `session_1`, `session_2`, ... with a picture's caption as part of its turn."""
    user = locomo_id(item, number)
    conversation = item["conversation"]
    sessions = [int(key[8:]) for key in conversation if re.fullmatch(r"session_\d+", key)]
    for session in sorted(sessions):
        start = moment(conversation.get(f"session_{session}_date_time"))
        scope = Scope(user_id=user, run_id=f"{user}/session_{session}")
        for place, turn in enumerate(conversation[f"session_{session}"]):
            caption = turn.get("blip_caption")
            text = turn.get("text") or ""
            yield from _message(
                role="user",
                content=f"{text} [shares {caption}]".strip() if caption else text,
                name=_name(turn["speaker"]),
                at=None if start is None else start + place * TURN_STEP_S,
                scope=scope,
                turn_id=turn["dia_id"],
            )


def _longmemeval(item: Json, number: int) -> Iterator[Parsed]:
    """One question's haystack: dated sessions between a user and an assistant."""
    user = str(item["question_id"])
    names = item.get("haystack_session_ids") or range(1, len(item["haystack_sessions"]) + 1)
    dates = item.get("haystack_dates") or [None] * len(item["haystack_sessions"])
    for place, (name, date, turns) in enumerate(
        zip(names, dates, item["haystack_sessions"], strict=True)
    ):
        start = moment(date)
        scope = Scope(user_id=user, run_id=f"{user}/{name}")
        for index, turn in enumerate(turns):
            yield from _message(
                role=turn["role"],
                content=turn["content"],
                at=None if start is None else start + index * TURN_STEP_S,
                scope=scope,
                turn_id=longmemeval_turn_id(place, index),
            )


def _neutral(item: Json, number: int) -> Iterator[Parsed]:
    user = neutral_id(item, number)
    times = _spread([moment(turn.get("date")) for turn in item["turns"]])
    for turn, at in zip(item["turns"], times, strict=True):
        speaker = str(turn.get("speaker") or "user")
        role = speaker if speaker in ("user", "assistant", "system") else "user"
        session = turn.get("session")
        yield from _message(
            role=role,
            content=turn["text"],
            name=None if speaker == role else _name(speaker),
            at=at,
            scope=Scope(
                user_id=user, run_id=None if session in (None, "") else f"{user}/{session}"
            ),
            turn_id=str(turn["id"]),
        )


_READERS = {
    "jsonl": _line,
    "openai": _openai,
    "chatgpt": _chatgpt,
    "sharegpt": _sharegpt,
    "locomo": _locomo,
    "longmemeval": _longmemeval,
    "neutral": _neutral,
}


def locomo_id(item: Json, number: int) -> str:
    """The name of a LoCoMo conversation."""
    return str(item.get("sample_id") or f"conversation-{number}")


def longmemeval_turn_id(session: int, index: int) -> str:
    """The name of a turn of a LongMemEval haystack, by place: its session ids can repeat."""
    return f"{session + 1}:{index + 1}"


def neutral_id(item: Json, number: int) -> str:
    """The name of a conversation in the neutral form."""
    return str(item.get("conversation_id") or f"conversation-{number}")


# --- parts ------------------------------------------------------------------------------------


def _message(
    *,
    role: str,
    content: Json,
    scope: Scope,
    name: str | None = None,
    at: float | None = None,
    metadata: Json = None,
    categories: tuple[str, ...] = (),
    expires_on: Json = None,
    immutable: bool = False,
    turn_id: str = "",
    tools: bool = False,
) -> Iterator[Parsed]:
    """The record of one message, and a `Skip` for each thing of it that is left out.

    `tools` keeps what tools said: it was stored on purpose when it comes from our own export.
    """
    lowered = str(role).lower()
    stored = _ROLES | _TOOL_ROLES if tools else _ROLES
    if lowered not in stored and lowered in _UNSTORED:
        yield Skip(_UNSTORED[lowered])
        return
    if lowered not in stored:
        raise ValidationError(f"unknown role {role!r}.", hint="Known: user, assistant, system.")
    text, left_out = _text_of(content)
    if left_out:
        yield Skip("pictures and attachments")
    if not text.strip():
        yield Skip("messages without text")
        return
    yield Record(
        text=text,
        role=stored[lowered],
        name=name,
        at=at,
        scope=scope,
        metadata=metadata or None,
        categories=categories,
        expires_on=None if expires_on is None else str(expires_on),
        immutable=immutable,
        turn_id=turn_id,
    )


def _text_of(content: Json) -> tuple[str, bool]:
    """The text of a message's content, and whether anything but text was in it."""
    if content is None:
        return "", False
    if isinstance(content, str):
        return content, False
    if not isinstance(content, list):
        raise ValidationError("a message's content must be text or a list of parts.")
    texts = [part if isinstance(part, str) else _first(part, "text") for part in content]
    kept = [text for text in texts if isinstance(text, str)]
    return "\n".join(text for text in kept if text), len(kept) < len(texts)


def _first(item: Mapping[str, Json], *keys: str) -> Json:
    """The first of these keys that has a value."""
    return next((item[key] for key in keys if item.get(key) is not None), None)


def _name(value: Json) -> str | None:
    """A name or an id as it was written; none if it is missing or empty."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValidationError(
            "a name or an id is neither text nor a number.", hint="Write it as text."
        )
    return str(value)


def _listed(value: Json) -> tuple[Json, ...]:
    if not isinstance(value, list | None):
        raise ValidationError("categories must be a list.", hint='E.g. ["food", "work"].')
    return tuple(value or ())


def _spread(times: list[float | None]) -> list[float | None]:
    """Sets turns of one common time a step apart; leaves all others as they are."""
    spread: list[float | None] = []
    said = placed = float("-inf")
    for at in times:
        if at is None:
            spread.append(None)
            continue
        placed = max(at, placed + TURN_STEP_S) if at >= said else at
        said = at
        spread.append(placed)
    return spread
