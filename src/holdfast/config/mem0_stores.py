"""What Mem0's settings of an external vector store mean for our index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from holdfast.config.faults import fault, unknown

_PLACE: Final = "vector_store.config"
_LEAVE_OUT: Final = "Leave it out."
SHARED: Final = ("collection_name", "embedding_model_dims", "path")
"""Keys that say the same for every store; read elsewhere."""

Config = Mapping[str, Any]


def external(provider: Any, config: Config, origin: str) -> dict[str, Any] | None:
    """The `index` that a store means; None if it is one that lies in a folder.

    Raises ConfigError for what has no meaning here.
    """
    read = _STORES.get(provider) if isinstance(provider, str) else None
    if read is None or (provider == "qdrant" and not _is_server(config)):
        return None
    for key in config:
        if key not in (*SHARED, *_KEYS[provider]):
            raise unknown(f"{_PLACE}.", key, origin, (*SHARED, *_KEYS[provider]))
    for key in ("client", "connection_pool"):
        if config.get(key) is not None:
            what = "an object of another library cannot be used"
            raise fault(f"{_PLACE}.{key}", origin, what, "Say where the server is instead.")
    found = {key: value for key, value in read(config, origin).items() if value is not None}
    return {"provider": provider, "config": found}


def _is_server(config: Config) -> bool:
    return any(config.get(key) is not None for key in ("url", "host", "client"))


def _qdrant(config: Config, _origin: str) -> dict[str, Any]:
    names = ("url", "host", "port", "api_key", "https")
    found = {name: config.get(name) for name in names}
    return {**found, "vectors_on_disk": config.get("on_disk") or None}


def _pgvector(config: Config, origin: str) -> dict[str, Any]:
    if config.get("diskann"):
        raise fault(f"{_PLACE}.diskann", origin, "there is no such index here", _LEAVE_OUT)
    return {
        "url": config.get("connection_string") or _address(config, origin),
        "mode": "exact" if config.get("hnsw") is False else None,
        "pool_max": config.get("maxconn"),
    }


def _address(config: Config, origin: str) -> str:
    """A URL of the parts of one, as far as they are given."""
    for key in ("user", "password", "host"):
        if not isinstance(config.get(key), str):
            raise fault(f"{_PLACE}.{key}", origin, "expected text", "Or name connection_string.")
    who = f"{quote(config['user'], safe='')}:{quote(config['password'], safe='')}"
    port = config.get("port")
    where = config["host"] if port is None else f"{config['host']}:{port}"
    mode = config.get("sslmode")
    options = "" if mode is None else "?" + urlencode({"sslmode": mode})
    name = quote(str(config.get("dbname") or "postgres"), safe="")
    return f"postgresql://{who}@{where}/{name}{options}"


def _pinecone(config: Config, origin: str) -> dict[str, Any]:
    # vectors are normalised, so that these two order alike
    if config.get("metric", "cosine") not in ("cosine", "dotproduct"):
        raise fault(f"{_PLACE}.metric", origin, "expected cosine or dotproduct", _LEAVE_OUT)
    found: dict[str, Any] = {"api_key": config.get("api_key")}
    pods = _part(config, "pod_config", ("environment", "pod_type", "replicas", "shards"), origin)
    if pods:
        environment = pods.get("environment", config.get("environment"))
        return {**found, **pods, "deployment": "pod", "environment": environment}
    return {**found, **_part(config, "serverless_config", ("cloud", "region"), origin)}


def _part(config: Config, name: str, known: tuple[str, ...], origin: str) -> dict[str, Any]:
    value = config.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise fault(f"{_PLACE}.{name}", origin, "expected a mapping")
    for key in value:
        if key not in known:
            raise unknown(f"{_PLACE}.{name}.", key, origin, known)
    return dict(value)


def _weaviate(config: Config, origin: str) -> dict[str, Any]:
    if config.get("additional_headers"):
        what = "no model of Weaviate's is used, so it needs no keys of others"
        raise fault(f"{_PLACE}.additional_headers", origin, what, _LEAVE_OUT)
    return {"url": config.get("cluster_url"), "api_key": config.get("auth_client_secret")}


_STORES: Final[Mapping[str, Callable[[Config, str], dict[str, Any]]]] = {
    "qdrant": _qdrant,
    "pgvector": _pgvector,
    "pinecone": _pinecone,
    "weaviate": _weaviate,
}

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "qdrant": ("url", "host", "port", "api_key", "https", "on_disk", "client"),
    "pgvector": (
        "connection_string", "user", "password", "host", "port", "dbname", "sslmode",
        "hnsw", "diskann", "maxconn", "connection_pool",
    ),
    # keywords are always searched, so that `hybrid_search` is on whatever it says
    "pinecone": (
        "api_key", "environment", "serverless_config", "pod_config", "metric", "hybrid_search",
        "client",
    ),
    "weaviate": ("cluster_url", "auth_client_secret", "additional_headers"),
}  # fmt: skip
"""Keys of the configuration of each, beside `SHARED`."""
