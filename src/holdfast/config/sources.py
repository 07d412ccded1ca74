"""What a source says, as plain values: files are found, read and filled in from the environment."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.config.faults import fault
from holdfast.config.mem0 import unset_dump
from holdfast.config.prices import ModelPrice
from holdfast.config.server import ServerConfig
from holdfast.config.settings import Config, Part, home_folder
from holdfast.errors import ConfigError
from holdfast.model import TrustPolicy

FILE_BYTES_MAX: Final = 1_048_576
DEPTH_MAX: Final = 16
NODES_MAX: Final = 10_000

_VARIABLE = re.compile(
    r"\$\$\{"  # $${ stands for ${
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:(?!\$\{)[^}])*))?\}"
    r"|(?P<wrong>\$\{)"
)


def find_file(source: object, environ: Mapping[str, str]) -> Path | None:
    """The file to read: the path given, HOLDFAST_CONFIG, or config.toml at home if it exists."""
    named = source if isinstance(source, str | os.PathLike) else environ.get("HOLDFAST_CONFIG", "")
    text = os.fspath(named)
    if not isinstance(text, str):
        raise ConfigError("The path of a configuration must be text, not bytes.")
    if text.strip():
        return _expanded(text)
    if isinstance(source, str):
        raise ConfigError("The path of the configuration is empty.", hint="Name a file.")
    usual = _expanded(home_folder(environ)) / "config.toml"
    return usual if os.path.isfile(usual) else None  # unlike Path.is_file: False where unreadable


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"{text[:200]}: {error}", hint="Give the whole path.") from None


def read_file(path: Path) -> dict[str, Any]:
    """The mapping a YAML or TOML file holds; an empty file sets nothing. Raises ConfigError."""
    readers = {".yaml": _yaml, ".yml": _yaml, ".toml": _toml}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path} is neither YAML nor TOML.", hint="Name it .yaml, .yml or .toml.")
    text = _text(path)
    try:
        values = reader(text, path)
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no mapping.", hint="Write lines like `project: shop`.")
    return values


def _text(path: Path) -> str:
    content = _content(path)
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError(f"{path} is larger than {FILE_BYTES_MAX:,} bytes.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8.", hint="Save it as UTF-8.") from None


def _content(path: Path) -> bytes:
    """The file's bytes, or one more than are allowed."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise ConfigError(f"There is no file {path}.", hint="Check the path.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:  # a NUL in the path
        raise ConfigError("The path of the configuration has a NUL character.") from None


def _yaml(text: str, path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path}{line}: invalid YAML: {error.problem or error.context}."
        ) from None
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        ArithmeticError,
    ) as error:
        # All but the first come out of PyYAML's own conversions, e.g. of 2024-13-45 to a date.
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{path}: invalid YAML: {reason}.") from None


def _toml(text: str, path: Path) -> Any:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path}: invalid TOML: {error}.") from None


def as_mapping(source: object) -> dict[Any, Any]:
    """A mapping, or what a Mem0 MemoryConfig was given. Raises ConfigError for anything else."""
    if isinstance(source, Mapping):
        return dict(source)
    if callable(getattr(source, "model_dump", None)):
        return unset_dump(source)
    kind = type(source).__name__
    raise ConfigError(
        f"A configuration is a mapping, a Config or the path of a file, not {kind}.",
        hint='For example {"path": "memories"}.',
    )


def nested(place: str, value: str) -> dict[str, Any]:
    """The mapping that sets one dotted place."""
    found: Any = value
    for key in reversed(place.split(".")):
        found = {key: found}
    return {**found}


def spelled(config: Config) -> dict[str, Any]:
    """A Config as the mapping it could have been read from."""
    return {name: _part_spelled(getattr(config, name)) for name in config.__struct_fields__}


def _part_spelled(value: Any) -> Any:
    if isinstance(value, Part):
        return {"provider": value.provider, "config": value.config}
    if isinstance(value, ServerConfig | ModelPrice | TrustPolicy):
        return msgspec.structs.asdict(value)
    return value


def plain(
    values: Mapping[Any, Any], origin: str, environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A copy down to the leaves, bounded in depth and size.

    With `environ`, `${NAME}` and `${NAME:-default}` in texts are replaced.
    """

    def fill(text: str, place: str) -> str:
        return text if environ is None else _filled(text, place, origin, environ)

    copy = _Copy(origin, fill)
    return {key: copy.of(value, key, 1) for key, value in copy.items(values, "")}


class _Copy:
    """Copies containers; refuses what no setting can be, before it gets anywhere."""

    def __init__(self, origin: str, fill: Callable[[str, str], str]) -> None:
        self._origin = origin
        self._fill = fill
        self._nodes = 0

    def of(self, value: Any, place: str, depth: int) -> Any:
        self._nodes += 1
        if depth > DEPTH_MAX or self._nodes > NODES_MAX:
            raise fault(place[:200], self._origin, "is nested too deeply or too large")
        value = _part_spelled(value)
        if isinstance(value, str):
            return self._text(value, place)
        if isinstance(value, Mapping):
            items = self.items(value, f"{place}.")
            return {key: self.of(item, f"{place}.{key}", depth + 1) for key, item in items}
        if isinstance(value, list | tuple):
            return [self.of(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(value)]
        return value

    def items(self, values: Mapping[Any, Any], prefix: str) -> list[tuple[str, Any]]:
        """The items of a mapping whose keys are all text."""
        for key in values:
            if not isinstance(key, str):
                kind = type(key).__name__
                place = f"{prefix}{key!r:.64}"
                raise fault(place, self._origin, f"a setting's name is text, not {kind}")
            self._text(key, prefix or "a name")
        return list(values.items())

    def _text(self, value: str, place: str) -> str:
        filled = self._fill(value, place)
        if "\x00" in filled or (not filled.isascii() and _has_surrogates(filled)):
            raise fault(place, self._origin, "has a NUL character or half a surrogate pair")
        return filled


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _filled(text: str, place: str, origin: str, environ: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found["wrong"]:
            hint = "Write ${NAME} or ${NAME:-default}; $${ stands for ${."
            raise fault(place, origin, "${ does not begin the name of a variable", hint)
        name = found["name"]
        if name is None:
            return "${"
        if found["default"] is not None:
            return environ.get(name) or found["default"]
        if name not in environ:
            hint = f"Set it, or write ${{{name}:-default}}."
            raise fault(place, origin, f"the environment variable {name} is not set", hint)
        return environ[name]

    return _VARIABLE.sub(value, text)
