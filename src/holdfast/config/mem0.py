"""What a Mem0 configuration means here: its own keys are translated, or refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from holdfast.caller import warn
from holdfast.config.faults import fault, unknown
from holdfast.config.mem0_stores import external
from holdfast.model import Struct

MEM0_KEYS: Final = (
    "vector_store", "history_db_path", "version", "graph_store",
    "custom_fact_extraction_prompt", "custom_update_memory_prompt",
)  # fmt: skip
"""Keys of Mem0's configuration that Holdfast's does not have."""

VERSION: Final = "v1.1"
_COLLECTION: Final = "mem0"  # Mem0's default, so a name that says nothing

_EXTERNAL_KEYS: Final = ("host", "port", "url", "https", "api_key", "tenant", "client")
_SHARED_KEYS: Final = ("path", "collection_name", "embedding_model_dims", *_EXTERNAL_KEYS)
_LOCAL_STORES: Final[Mapping[str, tuple[str, ...]]] = {
    "qdrant": (*_SHARED_KEYS, "on_disk"),
    "chroma": _SHARED_KEYS,
    # Vectors are normalised here, so these two do not change the order of what is found.
    "faiss": (*_SHARED_KEYS, "distance_strategy", "normalize_L2"),
}
"""Vector stores that Mem0 can keep in a folder, and the keys of their configuration."""

_LEAVE_OUT: Final = "Leave vector_store out to use the embedded one."


class Translated(Struct, frozen=True, kw_only=True):
    """A configuration without Mem0's own keys."""

    values: dict[str, Any]
    dimensions: int | None = None
    """What `embedding_model_dims` says the embedder gives."""
    temporary: bool = False
    """Whether nothing is to be kept beyond this process (`on_disk` is false, and no path given)."""


def unset_dump(source: Any) -> dict[str, Any]:
    """What was set by hand in a `mem0` MemoryConfig object; Mem0's defaults are not wishes.

    Mem0 fills in /tmp/<provider> as the path of a local vector store; that is left out too.
    """
    values: dict[str, Any] = source.model_dump(exclude_unset=True, warnings=False)
    match values.get("vector_store"):
        case {"config": {"path": path} as config, **store} if path == _filled_in(store):
            del config["path"]
    return values


def _filled_in(store: Mapping[Any, Any]) -> str:
    return f"/tmp/{store.get('provider', 'qdrant')}"


def translate(values: Mapping[str, Any], origin: str) -> Translated:
    """Replace Mem0's own keys by what they mean; the others are passed on as they are.

    Raises ConfigError for what this version does not offer and for contradictions.
    """
    own = {name: value for name, value in values.items() if name not in MEM0_KEYS}
    _check_version(values.get("version"), origin)
    _refuse_graph(values.get("graph_store"), origin)
    _take_prompts(values, own, origin)
    store, index = _store_config(values.get("vector_store"), origin)
    _same(own, "index", index, "vector_store", origin)
    _same(own, "path", store.get("path"), "vector_store.config.path", origin)
    # Mem0 2.x keeps what is in a folder that was named, whatever `on_disk` says of vectors.
    temporary = index is None and store.get("on_disk") is False and "path" not in own
    _take_history(values.get("history_db_path"), own, origin, needed=not temporary)
    collection = store.get("collection_name")
    if collection not in (None, _COLLECTION):
        _same(own, "project", collection, "vector_store.config.collection_name", origin)
    dimensions = store.get("embedding_model_dims")
    return Translated(values=own, dimensions=dimensions, temporary=temporary)


def _check_version(version: Any, origin: str) -> None:
    if version is not None and version != VERSION:
        hint = f'Set it to "{VERSION}" or leave it out.'
        raise fault("version", origin, f"only {VERSION} of Mem0's answers is offered", hint)


def _refuse_graph(graph: Any, origin: str) -> None:
    """Mem0 1.x writes a graph store without `config` where none is used."""
    if graph and not (isinstance(graph, Mapping) and not graph.get("config")):
        what = "graph stores are not offered, entities are found without one"
        raise fault("graph_store", origin, what, "Leave it out.")


def _take_prompts(values: Mapping[str, Any], own: dict[str, Any], origin: str) -> None:
    if values.get("custom_update_memory_prompt"):
        what = "there is no separate call that decides about updates, and so no prompt for it"
        hint = "Leave it out; say what matters in custom_instructions."
        raise fault("custom_update_memory_prompt", origin, what, hint)
    name = "custom_fact_extraction_prompt"
    if values.get(name):
        warn(f"{name} is called custom_instructions since Mem0 2.0.", DeprecationWarning)
        _same(own, "custom_instructions", values[name], name, origin)


def _take_history(history: Any, own: dict[str, Any], origin: str, *, needed: bool) -> None:
    """The history is kept with the records: its folder is theirs, unless one is named."""
    if history is None or history == ":memory:":
        return
    if not isinstance(history, str) or not history.strip():
        raise fault("history_db_path", origin, "expected the path of a file")
    if needed and "path" not in own:
        own["path"] = str(Path(history).parent)


def _same(own: dict[str, Any], name: str, value: Any, their_name: str, origin: str) -> None:
    """Take Mem0's value for one of our settings, unless ours says something else."""
    if value is None:
        return
    if own.get(name, value) != value:
        raise fault(their_name, origin, f"contradicts {name}", "Leave out one of them.")
    own[name] = value


def _store_config(store: Any, origin: str) -> tuple[Mapping[str, Any], dict[str, Any] | None]:
    """The configuration of a vector store, and the index it means; None for the embedded one."""
    if store is None:
        return {}, None
    if not isinstance(store, Mapping):
        raise fault("vector_store", origin, "expected a mapping of provider and config", _LEAVE_OUT)
    for key in store:
        if key not in ("provider", "config"):
            raise unknown("vector_store.", key, origin, ("provider", "config"))
    provider, config = store.get("provider", "qdrant"), store.get("config")
    if config is not None and not isinstance(config, Mapping):
        raise fault("vector_store.config", origin, "expected a mapping", _LEAVE_OUT)
    config = config or {}
    index = external(provider, config, origin)
    known = _LOCAL_STORES.get(provider) if isinstance(provider, str) else None
    if index is None and known is None:
        what = f"{str(provider)[:64]}: there is no such index here"
        raise fault("vector_store.provider", origin, what, _LEAVE_OUT)
    if index is None and known is not None:
        _check_local(config, known, origin)
    _check_types(config, origin)
    return config, index


def _check_local(config: Mapping[str, Any], known: tuple[str, ...], origin: str) -> None:
    """Refuse what a store in a folder does not have."""
    for key, value in config.items():
        if key not in known:
            raise unknown("vector_store.config.", key, origin, known)
        if key in _EXTERNAL_KEYS and value is not None:
            what = "a server of this kind cannot be the index"
            raise fault(f"vector_store.config.{key}", origin, what, _LEAVE_OUT)


def _check_types(config: Mapping[str, Any], origin: str) -> None:
    expected = {"on_disk": bool, "embedding_model_dims": int, "collection_name": str}
    for key, kind in expected.items():
        value = config.get(key)
        if value is not None and type(value) is not kind:
            words = {bool: "true or false", int: "a whole number", str: "text"}[kind]
            raise fault(f"vector_store.config.{key}", origin, f"expected {words}")
