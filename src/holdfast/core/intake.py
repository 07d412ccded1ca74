"""Input of every verb: validated, normalised and bounded before anything happens.

Nothing here changes anything; every fault is a ValidationError (or TooLargeError) that names the
argument and never repeats the text it was given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, cast, get_args
from uuid import UUID

import msgspec

from holdfast import limits
from holdfast.core.grounding import strip_marked
from holdfast.errors import TooLargeError, ValidationError
from holdfast.model import TRUSTS, JobState, Json, Scope, Struct, Trust

SKIPPED_ROLES = frozenset({"system", "developer"})
"""Instructions to the model, not conversation: they are no memories."""

ROLES = frozenset({"user", "assistant", "tool", "function"})

RESERVED_METADATA = ("user_id", "agent_id", "app_id", "run_id", "actor_id", "role")
"""Identity is set by arguments only; these keys of metadata are dropped."""

_YEARS = (-62_135_596_800.0, 253_402_300_799.0)  # years 1 to 9999, what datetime can show


class Said(Struct, frozen=True, kw_only=True):
    """One message of an add."""

    role: str
    text: str
    actor_id: str | None = None
    at: float | None = None
    """Its own timestamp, epoch seconds, if it had one."""
    trust: Trust | None = None
    """What it says itself."""


def clean_text(value: object, name: str, chars_max: int = limits.TEXT_CHARS_MAX) -> str:
    """Text with content that every store can hold; white space around it is kept."""
    if not isinstance(value, str):
        raise ValidationError(
            f"{name} must be text, not {type(value).__name__}.", hint="Give it as a str."
        )
    if not value.strip():
        raise ValidationError(f"{name} is empty.", hint="Give it some text.")
    if len(value) > chars_max:
        raise _too_long(name, len(value), chars_max)
    _storable(value, name)
    return value


def _too_long(name: str, size: int, most: int) -> TooLargeError:
    return TooLargeError(
        f"{name} has {size:,} characters; the limit is {most:,}.", hint="Split it into several."
    )


def clean_id(value: object, name: str) -> str:
    """An identifier: coerced to text, trimmed, not empty, bounded."""
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise ValidationError(
            f"{name} must be text, not {type(value).__name__}.", hint="Give it as a str."
        )
    if isinstance(value, int):
        _number(value, name)  # and so short enough to be written out
    text = str(value).strip()
    if not text:
        raise ValidationError(f"{name} is empty.", hint="Leave it out or give it a name.")
    if len(text) > limits.ID_CHARS_MAX:
        raise TooLargeError(
            f"{name} has {len(text):,} characters; the limit is {limits.ID_CHARS_MAX}.",
            hint="Use a shorter identifier, for example a hash of this one.",
        )
    _storable(text, name)
    if text == "*":
        raise ValidationError(
            f"{name} must not be '*'.", hint="In filters it stands for everybody."
        )
    return text


def optional_id(value: object, name: str) -> str | None:
    """`clean_id` for what may be left out."""
    return None if value is None else clean_id(value, name)


def _storable(text: str, name: str) -> None:
    if "\x00" in text:
        raise ValidationError(f"{name} contains a NUL character.", hint="Remove it.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValidationError(
            f"{name} contains half a surrogate pair at character {error.start}.",
            hint="Clean it with text.encode('utf-8', 'replace').decode().",
        ) from None


def clean_scope(
    user_id: object = None, agent_id: object = None, app_id: object = None, run_id: object = None
) -> Scope:
    """The identities of a call; at least one must be named."""
    given = {"user_id": user_id, "agent_id": agent_id, "app_id": app_id, "run_id": run_id}
    names = {name: clean_id(value, name) for name, value in given.items() if value is not None}
    if not names:
        raise ValidationError(
            "At least one of 'user_id', 'agent_id', 'app_id' or 'run_id' must be provided.",
            hint="Say whose memory this is, e.g. user_id='alice'.",
        )
    return Scope(**names)


def clean_messages(messages: object) -> tuple[Said, ...]:
    """The conversation of an add; a text is one user message.

    System messages are left out, and what was marked as recalled (`mark_recalled`).
    """
    items = _as_list(messages)
    if len(items) > limits.MESSAGES_PER_ADD_MAX:
        raise TooLargeError(
            f"messages has {len(items):,} entries; the limit is {limits.MESSAGES_PER_ADD_MAX:,}.",
            hint="Send them in several calls.",
        )
    said = [one for i, item in enumerate(items) if (one := _message(item, f"messages[{i}]"))]
    if not said:
        raise ValidationError("messages holds nothing that was said.", hint="Add a user message.")
    if (total := sum(len(one.text) for one in said)) > limits.ADD_CHARS_MAX:
        raise TooLargeError(
            f"messages has {total:,} characters; the limit is {limits.ADD_CHARS_MAX:,}.",
            hint="Send them in several calls.",
        )
    return tuple(said)


def _as_list(messages: object) -> Sequence[Any]:
    if isinstance(messages, str | Mapping):
        return [messages]
    if isinstance(messages, Sequence) and not isinstance(messages, bytes | bytearray):
        return messages
    raise ValidationError(
        f"messages must be text, a message or a list of messages, not {type(messages).__name__}.",
        hint=_A_MESSAGE,
    )


_A_MESSAGE = "A message is {'role': 'user', 'content': '...'}."


def _message(item: object, name: str) -> Said | None:
    if isinstance(item, str):
        item = {"role": "user", "content": item}
    if not isinstance(item, Mapping):
        raise ValidationError(
            f"{name} must be a message, not {type(item).__name__}.", hint=_A_MESSAGE
        )
    role = item.get("role", "user")
    if not isinstance(role, str) or role not in ROLES | SKIPPED_ROLES:
        raise ValidationError(
            f"{name}.role is not a known role.", hint=f"Use one of {', '.join(sorted(ROLES))}."
        )
    if role in SKIPPED_ROLES:
        return None
    content = item.get("content")
    if content is None and item.get("tool_calls"):
        return None  # the model called a tool and said nothing
    if content is None:
        raise ValidationError(f"{name} has no content.", hint=_A_MESSAGE)
    actor = item.get("name")
    text = strip_marked(clean_text(_joined(content, name), f"{name}.content"))
    if not text:
        return None  # nothing but what was recalled
    return Said(
        role=role,
        text=text,
        actor_id=None if actor is None else clean_id(actor, f"{name}.name"),
        at=moment(item.get("timestamp"), f"{name}.timestamp"),
        trust=clean_trust(item.get("trust"), f"{name}.trust"),
    )


def clean_trust(value: object, name: str = "trust") -> Trust | None:
    """A level of trust, or none. Raises ValidationError."""
    if value is not None and value not in TRUSTS:
        raise ValidationError(f"{name} is unknown.", hint=f"Use {' or '.join(TRUSTS)}.")
    return value


def _joined(content: object, name: str) -> object:
    """The text of a content given in parts; other content is returned as it is."""
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list | tuple):
        return content
    texts: list[str] = []
    size = 0
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in ("text", "input_text", "output_text"):
            texts.append(clean_text(part.get("text"), f"{name}.content"))
            size += len(texts[-1])
            if size > limits.TEXT_CHARS_MAX:
                raise _too_long(f"{name}.content", size, limits.TEXT_CHARS_MAX)
        else:
            raise ValidationError(
                f"{name}.content has a part that is not text.",
                hint="No vision model is configured: describe images in words.",
            )
    return "\n".join(texts)


def moment(value: object, name: str) -> float | None:
    """A time as epoch seconds: ISO 8601 text (UTC unless it says otherwise), datetime or number."""
    if value is None:
        return None
    seconds = math.nan
    if isinstance(value, datetime):
        seconds = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    elif isinstance(value, date):
        seconds = datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    elif isinstance(value, str):
        seconds = _from_iso(value.strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # before the conversion: an int may be greater than any float
        seconds = float(value) if _YEARS[0] <= value <= _YEARS[1] else math.nan
    if not _YEARS[0] <= seconds <= _YEARS[1]:
        raise ValidationError(
            f"{name} is not a time.",
            hint="Use ISO 8601 such as 2026-03-01T09:30:00Z, a datetime, or Unix seconds.",
        )
    return seconds


def _from_iso(text: str) -> float:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def last_day(value: object, name: str) -> str | None:
    """An expiration date as YYYY-MM-DD, UTC."""
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int | float):
        raise ValidationError(f"{name} is not a date.", hint="Use YYYY-MM-DD.")
    try:
        seconds = moment(value, name)
    except ValidationError:
        raise ValidationError(f"{name} is not a date.", hint="Use YYYY-MM-DD.") from None
    return datetime.fromtimestamp(seconds or 0.0, UTC).date().isoformat()


def clean_metadata(value: object, name: str = "metadata") -> tuple[dict[str, Json] | None, bool]:
    """Metadata as JSON values, and whether identity keys had to be dropped from it."""
    if value is None:
        return None, False
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValidationError(f"{name} must be a mapping with text keys.", hint=_A_MAPPING)
    kept = {key: item for key, item in value.items() if key not in RESERVED_METADATA}
    plain = _Plain(name)(kept, name, 0)
    size = len(msgspec.json.encode(plain))
    if size > limits.METADATA_BYTES_MAX:
        raise TooLargeError(
            f"{name} has {size:,} bytes as JSON; the limit is {limits.METADATA_BYTES_MAX:,}.",
            hint=_REFER,
        )
    return plain, len(kept) < len(value)


_A_MAPPING = "Metadata is a JSON object, such as {'source': 'mail', 'priority': 2}."


class _Plain:
    """Turns what a caller gave into JSON values, within bounds even where it contains itself."""

    def __init__(self, whole: str) -> None:
        self._whole = whole
        self._values = 0

    def __call__(self, value: Any, name: str, depth: int) -> Any:
        """A JSON value; ValidationError naming the place if it is none."""
        self._bound(depth)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            _storable(value, name)
            return value
        if isinstance(value, int | float):
            return _number(value, name)
        if isinstance(value, datetime | date):
            return value.isoformat()
        if isinstance(value, Mapping):
            return {
                _key(key, name): self(item, f"{name}[{str(key)[:40]!r}]", depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self(item, f"{name}[]", depth + 1) for item in value]
        raise ValidationError(
            f"{name} holds a {type(value).__name__}, which is not JSON.", hint="Store it as text."
        )

    def _bound(self, depth: int) -> None:
        """Every value takes at least a byte of JSON."""
        self._values += 1
        if depth > limits.METADATA_DEPTH_MAX:
            raise TooLargeError(
                f"{self._whole} is nested deeper than {limits.METADATA_DEPTH_MAX}.",
                hint="Store deeper values as text, and nothing that contains itself.",
            )
        if self._values > limits.METADATA_BYTES_MAX:
            raise TooLargeError(
                f"{self._whole} holds more than {limits.METADATA_BYTES_MAX:,} values.",
                hint=_REFER,
            )


_REFER = "Keep large values elsewhere and store a reference."


def _key(key: object, name: str) -> str:
    if not isinstance(key, str):
        raise ValidationError(f"{name} has a key that is not text.", hint=_A_MAPPING)
    _storable(key, f"a key of {name}")
    return key


def _number(value: Any, name: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValidationError(f"{name} is not a finite number.", hint="Leave it out, or use null.")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValidationError(f"{name} is an integer beyond 64 bits.", hint="Store it as text.")
    return value


def clean_categories(value: object) -> tuple[str, ...]:
    """Category names, in order, without repetition."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple | set | frozenset):
        raise ValidationError("categories must be a list of names.", hint="E.g. ['food', 'work'].")
    names = dict.fromkeys(clean_id(item, "categories[]") for item in value)
    if len(names) > limits.CATEGORIES_MAX:
        raise TooLargeError(
            f"categories has more than {limits.CATEGORIES_MAX} names.", hint="Keep the best ones."
        )
    return tuple(names)


def clean_custom_categories(value: object) -> tuple[str, ...]:
    """Names of categories to choose from: a list of names, or of Mem0's `{name: description}`."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise ValidationError(
            "custom_categories must be a list.", hint='E.g. [{"food": "What they eat."}].'
        )
    names = [name for item in value for name in (item if isinstance(item, Mapping) else [item])]
    return clean_categories(names)


def category_names(settings: Mapping[str, Json]) -> tuple[str, ...]:
    """The categories that were set for a project."""
    return clean_custom_categories(settings.get("custom_categories"))


def clean_memory_id(value: object) -> str:
    """A memory id as it can occur in a store; whether it exists is another question."""
    if not isinstance(value, str):
        raise ValidationError(
            f"memory_id must be text, not {type(value).__name__}.", hint=_A_MEMORY_ID
        )
    try:
        return clean_id(value, "memory_id")
    except ValidationError as fault:
        raise type(fault)(fault.message, hint=_A_MEMORY_ID) from None


_A_MEMORY_ID = "It is the `id` that add, search and get_all tell."


def clean_batch(memories: object) -> list[str]:
    """The ids of a batch, `{"memory_id": ...}` each, none of them twice."""
    if not isinstance(memories, list | tuple) or not memories:
        raise ValidationError("memories must be a list with something in it.", hint=_IN_A_BATCH)
    if len(memories) > limits.BATCH_MAX:
        raise TooLargeError(
            f"memories has {len(memories):,} entries; the limit is {limits.BATCH_MAX:,}.",
            hint="Send them in several calls.",
        )
    if not all(isinstance(one, Mapping) for one in memories):
        raise ValidationError("memories holds something else than objects.", hint=_IN_A_BATCH)
    ids = [clean_memory_id(one.get("memory_id")) for one in memories]
    if len(set(ids)) < len(ids):
        raise ValidationError("memories names a memory twice.", hint="Put it into one entry.")
    return ids


_IN_A_BATCH = 'E.g. [{"memory_id": "...", "text": "..."}].'


def clean_status(value: object) -> JobState | None:
    """The state of a job, or none."""
    if value is not None and value not in get_args(JobState):
        raise ValidationError(
            "status is unknown.", hint=f"Use one of {', '.join(get_args(JobState))}."
        )
    return cast("JobState | None", value)


def clean_count(value: object, name: str, most: int, least: int = 1) -> int:
    """A whole number within limits."""
    hint = f"Give a number from {least} to {most:,}."
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValidationError(f"{name} must be a whole number.", hint=hint)
    if not least <= value <= most:
        raise ValidationError(f"{name} is out of its bounds.", hint=hint)
    return value


def clean_seconds(value: object, name: str) -> float:
    """How long to wait."""
    most = limits.WAIT_S_MAX
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValidationError(
            f"{name} is no time to wait.", hint=f"Give seconds from 0 to {most:,}."
        )
    return float(value)


def clean_flag(value: object, name: str) -> bool:
    """A yes or a no."""
    if not isinstance(value, bool):
        raise ValidationError(
            f"{name} must be true or false, not {type(value).__name__}.", hint="Give a bool."
        )
    return value


def clean_flags(**values: object) -> dict[str, bool]:
    """Several of them, by their names."""
    return {name: clean_flag(value, name) for name, value in values.items()}


def clean_cursor(value: object) -> str | None:
    """A listing's cursor, or none; whether it is one is found out when it is read."""
    if value is not None and not isinstance(value, str):
        raise ValidationError(
            f"cursor must be text, not {type(value).__name__}.",
            hint="Use the `cursor` of the page before, or leave it out.",
        )
    return value


def clean_threshold(value: object) -> float:
    """A score below which nothing is returned."""
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValidationError(
            "threshold must be a number from 0 to 1.", hint="Leave it out for the configured one."
        )
    return float(value)
