"""Settings of the Qdrant index: `index: {provider: qdrant, config: {...}}`."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from msgspec import Meta
from msgspec.structs import fields

from holdfast.config import Part, part_settings
from holdfast.config.faults import fault
from holdfast.errors import ConfigError
from holdfast.model import Struct

Count = Annotated[int, Meta(ge=1)]
Size = Annotated[int, Meta(ge=0)]
PortNumber = Annotated[int, Meta(ge=1, le=65_535)]
Seconds = Annotated[float, Meta(gt=0.0, le=3_600.0)]


class QdrantSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server is (`url`, or `host`), or the local folder (`path`); how it keeps things.

    What is None is left to the server. All but the first group may change on a collection that is
    there already, unless it says otherwise.
    """

    url: str | None = None
    """http(s)://host:port of a server, a cloud or a proxy, with a prefix if it has one."""
    host: str | None = None
    """Host name, instead of `url`."""
    port: PortNumber = 6333
    """Of the REST interface, where `url` has none."""
    grpc_port: PortNumber = 6334
    https: bool | None = None
    """Whether `host` is asked over TLS; None: if there is an `api_key`, and not on this machine."""
    api_key: str | None = None
    prefer_grpc: bool = False
    """Points go over gRPC, which is smaller and faster than JSON."""
    path: str | None = None
    """A folder for qdrant-client's local mode, or ":memory:": one process, for trying out."""

    timeout_s: Seconds = 5.0
    """Seconds one call may take; ten times as long to open and drop a collection, and locally."""
    connections_max: Count = 64
    batch_bytes_max: Annotated[int, Meta(ge=65_536)] = 8 * 1024 * 1024
    """Bytes of one request that writes, about; servers refuse more than 32 MiB."""

    exact: bool = False
    """Compare with every vector of the entity instead of walking the graph."""
    hnsw_ef: Count | None = None
    """How widely the graph is searched: more finds more and takes longer."""
    oversampling: Annotated[float, Meta(ge=1.0)] | None = None
    """With quantisation: how many times as many candidates are scored again by whole vectors."""
    rescore: bool = True
    """With quantisation: whether candidates are scored again by whole vectors."""
    read_consistency: Literal["majority", "quorum", "all"] | None = None
    """With replicas: on how many a point must be to be found; None: on the one that is asked."""
    write_ordering: Literal["weak", "medium", "strong"] = "weak"
    settles_s: Annotated[float, Meta(ge=0.0, le=60.0)] = 1.0
    """With replicas that need not all acknowledge a write: seconds until it is surely found."""

    vectors_on_disk: bool = False
    payload_on_disk: bool = True
    quantisation: Literal["none", "scalar", "binary"] = "none"
    """scalar: 8 bits for each number; binary: one, for vectors of a thousand numbers and more."""
    quantised_in_ram: bool = True
    hnsw_links: Annotated[int, Meta(ge=4, le=512)] = 16
    """Links of a point in the graph of its tenant."""
    hnsw_ef_construct: Count = 100
    hnsw_full_scan_threshold_kb: Size | None = None
    """Tenants with fewer kilobytes of vectors are searched exactly; the server's: 10,000."""
    hnsw_on_disk: bool = False
    default_segment_number: Size | None = None
    indexing_threshold_kb: Size | None = None
    memmap_threshold_kb: Size | None = None
    replication_factor: Count | None = None
    write_consistency_factor: Count | None = None
    """Replicas that must have a write before it is acknowledged."""
    shard_number: Count | None = None
    """Cannot be changed later."""
    terms_average: Annotated[float, Meta(gt=0.0)] = 200.0
    """Words in a memory of usual length, for BM25. Cannot be changed later. Of 15 conversations,
    this one keeps 99.5% of the 32 best by the exact average, whether turns have 11 words or 193."""


LOCAL: Final = frozenset({"path", "timeout_s", "batch_bytes_max", "terms_average"})
"""What means something in local mode."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def settings_of(part: Part) -> QdrantSettings:
    """The checked settings of a part. Raises ConfigError, which names the setting."""
    settings = part_settings(QdrantSettings, part, "index")
    places = [name for name in ("url", "host", "path") if getattr(settings, name)]
    if len(places) != 1:
        told = " and ".join(places) or "neither url, host nor path"
        raise ConfigError(
            f"index.config: {told} is set.",
            hint="Name the server with url or host, or a folder with path.",
        )
    if settings.path is not None:
        _check_local(settings)
    if settings.url is not None:
        _check_url(settings)
    _check_factors(settings)
    return settings


def address(settings: QdrantSettings) -> str:
    """Base URL of the REST interface."""
    if settings.url is not None:
        return settings.url
    host = settings.host or ""
    secure = settings.https
    if secure is None:
        secure = settings.api_key is not None and host not in _LOOPBACK
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{shown}:{settings.port}"


def settling_s(settings: QdrantSettings, replicas: int, acknowledged: int) -> float:
    """Seconds until a write is surely found, if `acknowledged` of the replicas have it at once.

    Qdrant finds only what all replicas have that it asks, and what most of them have by quorum.
    """
    needed = replicas // 2 + 1 if settings.read_consistency == "quorum" else replicas
    return 0.0 if acknowledged >= needed else settings.settles_s


def _check_local(settings: QdrantSettings) -> None:
    for field in fields(QdrantSettings):
        if field.name not in LOCAL and getattr(settings, field.name) != field.default:
            raise fault(
                f"index.config.{field.name}",
                "configuration",
                "qdrant's local mode (path) has no such setting",
                "Take it out, or name a server with url.",
            )


def _check_url(settings: QdrantSettings) -> None:
    try:
        parts = urlsplit(settings.url or "")
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        good = good and parts.username is None and not parts.query and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise ConfigError(
            "index.config.url is not the address of a server.",
            hint="Write it like https://qdrant.example:6333; the key goes into api_key.",
        )
    if settings.https is not None and settings.https != (parts.scheme == "https"):
        raise ConfigError(
            "index.config: https contradicts the scheme of url.", hint="Take https out."
        )


def _check_factors(settings: QdrantSettings) -> None:
    writes, replicas = settings.write_consistency_factor, settings.replication_factor
    if writes is not None and writes > (replicas or 1):
        raise ConfigError(
            "index.config: write_consistency_factor is greater than replication_factor.",
            hint="No write could ever be acknowledged; lower it.",
        )
    if settings.quantisation == "none" and (settings.oversampling or not settings.rescore):
        raise ConfigError(
            "index.config: oversampling and rescore need quantisation.",
            hint='Set quantisation to "scalar" or "binary", or take them out.',
        )
