"""One setting at a time: its type, its bounds, and what else must hold for it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from holdfast import limits
from holdfast.config.faults import fault, nearest
from holdfast.config.retention import Rule
from holdfast.config.server import ServerConfig
from holdfast.config.settings import Config
from holdfast.errors import ConfigError

SERVER: Final = "server"
"""The section of settings that only the server reads."""

_OWN: Final = get_type_hints(Config, include_extras=True)
HINTS: Final[Mapping[str, Any]] = {name: hint for name, hint in _OWN.items() if name != SERVER} | {
    f"{SERVER}.{name}": hint
    for name, hint in get_type_hints(ServerConfig, include_extras=True).items()
}
"""The annotated type of each setting, by its dotted name."""

STORES: Final = ("records", "index", "cache")
PARTS: Final = (
    *STORES, "seal", "redaction", "backup", "embedder", "embedder_before", "llm", "reranker",
)  # fmt: skip
OPTIONAL: Final = (
    "backup", "embedder_before", "llm", "reranker", "custom_instructions", "content_key",
)  # fmt: skip
ADMIN_KEY_CHARS_MIN: Final = 16
CONTENT_KEY_BYTES_MAX: Final = 64  # what a BLAKE2b key may have
TABLES: Final = {
    "prices": "a mapping of `provider:model` to `input`, `output`, `cached`, `version`",
    "retention": f"a mapping of days by rule: {', '.join(get_args(Rule))}",
    "trust": "a mapping of `roles` and `actors` to `trusted` or `untrusted`, and a `default`",
}
"""Settings that are mappings of a form of their own, and have no variable; what they are."""
_PART_KEYS: Final = ("provider", "config")


def variables() -> dict[str, str]:
    """Environment variables that set something: name to the dotted name of the setting."""
    found = {}
    for name in HINTS:
        if name in TABLES:
            continue
        prefix = f"HOLDFAST_{name.replace('.', '_').upper()}"
        if name in PARTS:
            found[f"{prefix}_PROVIDER"] = f"{name}.provider"
            what = "path" if name in ("seal", "backup") else "url" if name in STORES else "model"
            found[f"{prefix}_{what.upper()}"] = f"{name}.config.{what}"
        else:
            found[prefix] = name
    found["HOLDFAST_ADMIN_KEY"] = f"{SERVER}.admin_key"
    return found


def kind_of(name: str) -> str:
    """What a setting must be, in words: "a whole number from 1 to 64"."""
    if name in PARTS:
        return "a mapping of provider and config"
    if name in TABLES:
        return TABLES[name]
    base, meta = HINTS[name].__origin__, HINTS[name].__metadata__[0]
    if base is bool:
        return "true or false"
    if base not in (int, float):
        return "text"
    number = "a whole number" if base is int else "a number"
    return f"{number} from {meta.ge:,} to {meta.le:,}"


def description_of(name: str) -> str:
    """One sentence or two on what a setting does."""
    text: str = HINTS[name].__metadata__[0].description
    return text


def checked_part(name: str, value: Any, origin: str) -> dict[str, Any]:
    """A part's mapping, checked; `config` is always there, `provider` only if it was given."""
    if not isinstance(value, Mapping):
        raise _expected(name, value, origin)
    for key in value:
        if key not in _PART_KEYS:
            hint = f"What the model takes belongs in {name}.config."
            raise fault(f"{name}.{str(key)[:64]}", origin, "no such setting", hint)
    config = {} if value.get("config") is None else value["config"]
    if not isinstance(config, Mapping):
        raise fault(f"{name}.config", origin, f"expected a mapping, got {_type_name(config)}")
    if "provider" not in value:
        return {"config": dict(config)}
    provider = value["provider"]
    if not isinstance(provider, str) or not provider.strip():
        raise fault(f"{name}.provider", origin, "expected the name of a provider")
    return {"provider": provider.strip(), "config": dict(config)}


def checked(name: str, value: Any, origin: str) -> Any:
    """One setting that is no part, of the right type and within its bounds."""
    if value is None and name in OPTIONAL:
        return None
    # Files and variables may know only text: "0.5" is a number there, but not in an argument.
    strict = origin == "argument"
    if isinstance(value, os.PathLike) and name == "path":
        value = os.fspath(value)
    try:
        value = msgspec.convert(value, HINTS[name], strict=strict)
    except msgspec.ValidationError as error:
        if name in TABLES and isinstance(value, Mapping):
            raise fault(name, origin, str(error), f"It is {kind_of(name)}.") from None
        raise _expected(name, value, origin) from None
    check = _CHECKS.get(name)
    return value if check is None else check(value, name, origin)


def _expected(name: str, value: Any, origin: str) -> ConfigError:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
    got = str(value) if number else _type_name(value)
    return fault(name, origin, f"expected {kind_of(name)}, got {got}")


def _type_name(value: Any) -> str:
    names = {str: "text", type(None): "nothing", bool: "true or false", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


def _check_filled(value: str, name: str, origin: str) -> str:
    if not value.strip():
        raise fault(name, origin, "is empty", "Leave it out or give it a value.")
    return value


def _check_project(value: str, name: str, origin: str) -> str:
    _check_filled(value, name, origin)
    if len(value) > limits.ID_CHARS_MAX or not value.isprintable() or value != value.strip():
        what = f"expected a name of up to {limits.ID_CHARS_MAX} printable characters"
        raise fault(name, origin, what, "Remove line breaks and spaces around it.")
    return value


def _check_timezone(value: str, name: str, origin: str) -> str:
    try:
        ZoneInfo(value)
    except (LookupError, ValueError, OSError):
        known = available_timezones()
        hint = nearest(value, known) if known else "Install the package tzdata."
        what = f"{value[:64]!r} is no IANA time zone"
        raise fault(
            name, origin, what, hint if len(hint) < 200 else "E.g. Europe/Berlin."
        ) from None
    return value


def _check_instructions(value: str, name: str, origin: str) -> str | None:
    if len(value) > limits.EXTRACTION_CHARS_MAX:
        what = f"is longer than {limits.EXTRACTION_CHARS_MAX:,} characters"
        raise fault(name, origin, what, "Shorten it.")
    return value if value.strip() else None


def _check_content_key(value: str, name: str, origin: str) -> str:
    _check_filled(value, name, origin)
    if len(value.encode()) > CONTENT_KEY_BYTES_MAX:
        raise fault(name, origin, f"is longer than {CONTENT_KEY_BYTES_MAX} bytes", "Shorten it.")
    return value


_RATE: Final = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")


def _check_rate(value: str, name: str, origin: str) -> str:
    if value and not _RATE.fullmatch(value):
        raise fault(name, origin, "is no rate", 'Write it like "600/minute", or leave it empty.')
    return value


def _check_admin_key(value: str, name: str, origin: str) -> str:
    if value and len(value) < ADMIN_KEY_CHARS_MIN:
        what = f"has fewer than {ADMIN_KEY_CHARS_MIN} characters"
        raise fault(
            name, origin, what, "Use a long random one, such as `openssl rand -hex 32` makes."
        )
    return value


def _one_of(*values: str) -> Callable[[str, str, str], str]:
    def check(value: str, name: str, origin: str) -> str:
        if value not in values:
            hint = f"Use {', '.join(values)}."
            raise fault(name, origin, f"there is no {value[:64]!r}", hint)
        return value

    return check


_CHECKS: Final[Mapping[str, Callable[[str, str, str], str | None]]] = {
    "path": _check_filled,
    "project": _check_project,
    "timezone": _check_timezone,
    "custom_instructions": _check_instructions,
    "content_key": _check_content_key,
    "audit": _one_of("auto", "off", "writes", "all"),
    "audit_reads": _one_of("batched", "durable"),
    **{
        f"{SERVER}.{name}": _check_rate
        for name in ServerConfig.__struct_fields__
        if "_limit_" in name
    },
    f"{SERVER}.admin_key": _check_admin_key,
}


def absolute_folder(value: str, base: Path | None, origin: str) -> str:
    """An absolute path; `~` is the user's home."""
    try:
        folder = Path(value).expanduser()
        return str(base / folder if base else folder.absolute())
    except (RuntimeError, OSError) as error:
        raise fault("path", origin, f"cannot be made absolute: {error}") from None
