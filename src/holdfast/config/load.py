"""Gathering the settings from their sources, the weakest first."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.caller import warn
from holdfast.config.checks import (
    HINTS,
    OPTIONAL,
    PARTS,
    SERVER,
    absolute_folder,
    checked,
    checked_part,
    variables,
)
from holdfast.config.faults import fault, unknown
from holdfast.config.mem0 import MEM0_KEYS, translate
from holdfast.config.server import ServerConfig
from holdfast.config.settings import (
    INDEX,
    LOCAL_EMBEDDER,
    RECORDS,
    Config,
    Part,
    Resolved,
    home_folder,
    leaves,
)
from holdfast.config.sources import as_mapping, find_file, nested, plain, read_file, spelled
from holdfast.model import Json, TrustPolicy

LOCAL_DIMENSIONS: Final = 256

Source = Config | Mapping[str, Json] | str | os.PathLike[str] | None


def load_config(
    source: Source = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Json] | None = None,
) -> Resolved:
    """The configuration in force.

    Args:
        source: a mapping in our words or Mem0's, a Mem0 `MemoryConfig`, or the path of a YAML or
            TOML file. Without a path the file is the one HOLDFAST_CONFIG names, else
            `config.toml` in the home folder if there is one. A Config is complete: neither file
            nor environment is asked.
        environ: environment variables; default `os.environ`.
        overrides: settings that overrule everything else.

    Raises ConfigError, which names the setting, where it was set, and what to do.
    """
    environ = os.environ if environ is None else environ
    draft = _Draft(environ)
    if isinstance(source, Config):
        draft.put(plain(spelled(source), "argument"), "argument")
    else:
        file = find_file(source, environ)
        if file is not None:
            values = plain(read_file(file), f"file {file}", environ)
            draft.put(values, f"file {file}", base=file.parent)
        for variable, place in variables().items():
            if text := environ.get(variable, "").strip():
                origin = f"environment {variable}"
                draft.put(plain(nested(place, text), origin), origin)
        if not isinstance(source, str | os.PathLike | None):
            draft.put(plain(as_mapping(source), "argument"), "argument")
    if overrides:
        draft.put(plain(dict(overrides), "argument"), "argument")
    return draft.resolved()


class _Draft:
    """Settings while they are gathered, the weakest source first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        origin = "environment HOLDFAST_HOME" if environ.get("HOLDFAST_HOME", "").strip() else ""
        home = plain({"path": home_folder(environ)}, origin)["path"]
        default = Config(path=absolute_folder(home, None, origin))
        self._values: dict[str, Any] = spelled(default)
        self._origins = {name: "default" for name, _ in leaves(default)}
        self._origins["path"] = origin or "default"
        self._temporary = False
        self._dimensions: tuple[int, str] | None = None

    def put(self, values: dict[str, Any], origin: str, base: Path | None = None) -> None:
        """Take over what one source says; relative paths start at `base`."""
        translated = translate(values, origin)
        if translated.dimensions is not None:
            self._dimensions = (translated.dimensions, origin)
        if translated.temporary:
            self._temporary = True
            self._origins["path"] = origin
        for name, value in translated.values.items():
            if name == SERVER:
                self._put_server(value, origin)
            elif name not in HINTS:
                raise unknown("", name, origin, (*Config.__struct_fields__, *MEM0_KEYS))
            elif name in PARTS:
                self._put_part(name, value, origin)
            elif name == "path":
                self._temporary = False
                self._set(name, absolute_folder(checked(name, value, origin), base, origin), origin)
            else:
                self._set(name, checked(name, value, origin), origin)

    def _set(self, name: str, value: Any, origin: str) -> None:
        self._values[name] = value
        self._origins[name] = origin

    def _put_server(self, value: Any, origin: str) -> None:
        if not isinstance(value, Mapping):
            raise fault(SERVER, origin, "expected a mapping of the server's settings")
        for key, item in value.items():
            name = f"{SERVER}.{key}"
            if name not in HINTS:
                known = (place.partition(".")[2] for place in HINTS if place.startswith(SERVER))
                raise unknown(f"{SERVER}.", key, origin, known)
            self._values[SERVER] = {**self._values[SERVER], key: checked(name, item, origin)}
            self._origins[name] = origin

    def _put_part(self, name: str, value: Any, origin: str) -> None:
        """Merge key by key; another provider than before begins with no settings."""
        if value is None and name in OPTIONAL:
            self._forget(name)
            self._set(name, None, origin)
            return
        part = checked_part(name, value, origin)
        before = self._values[name] or {}
        provider = part.get("provider", before.get("provider"))
        if before.get("provider", provider) != provider:
            self._forget(name)
            before = {}
        self._values[name] = {**before, **part, "config": before.get("config", {}) | part["config"]}
        self._origins[name] = origin
        for key in part["config"]:
            self._origins[f"{name}.config.{key}"] = origin
        if "provider" in part:
            self._origins[f"{name}.provider"] = origin

    def _forget(self, name: str) -> None:
        for place in [place for place in self._origins if place.partition(".")[0] == name]:
            del self._origins[place]

    def resolved(self) -> Resolved:
        """What came together. Raises ConfigError if settings contradict each other."""
        values = dict(self._values)
        for name in PARTS:
            if values[name] is not None:
                values[name] = self._finished(name, values[name])
        for name in ("embedder", "embedder_before"):
            if values[name] is not None:
                self._check_embedder(name, values[name])
        self._check_built_in("records", values["records"], RECORDS)
        self._check_built_in("index", values["index"], INDEX)
        self._check_breaker()
        values[SERVER] = ServerConfig(**values[SERVER])
        values["trust"] = msgspec.convert(values["trust"], TrustPolicy)
        if self._temporary:
            values["path"] = _temporary_folder()
        config = Config(**values)
        origins = {name: self._origins[name] for name, _ in leaves(config)}
        return Resolved(config=config, origins=origins)

    def _finished(self, name: str, part: dict[str, Any]) -> Part:
        if "provider" not in part:
            hint = f'Name one, for example "{_EXAMPLES.get(name, "openai")}".'
            raise fault(name, self._origins[name], "the provider is missing", hint)
        return Part(**part)

    def _check_breaker(self) -> None:
        first, longest = self._values["breaker_open_s"], self._values["breaker_open_max_s"]
        if longest < first:
            name = "breaker_open_max_s"
            what = f"{longest:g} is less than breaker_open_s, which is {first:g}"
            raise fault(name, self._origins[name], what, "Make it as long, or longer.")

    def _check_built_in(self, name: str, part: Part, built_in: str) -> None:
        """What comes with Holdfast and is kept in its folder has no settings of its own."""
        if part.provider == built_in and part.config:
            place = f"{name}.config.{next(iter(part.config))}"
            hint = f"Name its folder as `path`, or another provider: {_EXAMPLES[name]}, say."
            raise fault(place, self._origins[place], f"{built_in} has no such setting", hint)

    def _check_embedder(self, name: str, embedder: Part) -> None:
        """The local embedder takes one size only; a claim about the size must be true."""
        given = embedder.config.get("embedding_dims", embedder.config.get("dimensions"))
        if embedder.provider == LOCAL_EMBEDDER:
            given = LOCAL_DIMENSIONS
            for key, value in embedder.config.items():
                origin = self._origins[f"{name}.config.{key}"]
                if key != "dimensions":
                    raise unknown(f"{name}.config.", key, origin, ("dimensions",))
                if type(value) is not int or value != LOCAL_DIMENSIONS:
                    what = f"{LOCAL_EMBEDDER} gives {LOCAL_DIMENSIONS} dimensions, no others"
                    raise fault(f"{name}.config.{key}", origin, what, "Leave it out.")
        if name != "embedder" or self._dimensions is None or not isinstance(given, int):
            return
        claimed, origin = self._dimensions
        if claimed != given:
            raise fault(
                "vector_store.config.embedding_model_dims",
                origin,
                f"{claimed}, but the embedder {embedder.provider} gives {given}",
                "Leave it out, or configure the embedder it belongs to.",
            )


_EXAMPLES: Final = {
    "records": "postgres", "index": "qdrant", "cache": "redis", "seal": "file", "backup": "folder",
    "redaction": "patterns",
}  # fmt: skip


def _temporary_folder() -> str:
    """A folder only this user can read, removed when this process ends."""
    warn("on_disk is false: memories are gone when this process ends.", UserWarning)
    folder = tempfile.mkdtemp(prefix="holdfast-")
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not in a forked child: the parent still works in it
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
