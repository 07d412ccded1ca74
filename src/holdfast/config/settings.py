"""What can be set: the settings with their bounds, defaults and descriptions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from holdfast import limits
from holdfast.config.prices import ModelPrice
from holdfast.config.retention import Days, Rule
from holdfast.config.server import ServerConfig
from holdfast.model import DEFAULT_PROJECT, Json, Struct, TrustPolicy

LOCAL_EMBEDDER: Final = "wordllama"
RECORDS: Final = "sqlite"
INDEX: Final = "embedded"
CACHE: Final = "process"
"""Where records, index and cache are unless told otherwise: with this process."""
NO_KEYRING: Final = "none"
"""Texts are stored as they are."""
NO_REDACTION: Final = "none"
"""Texts are stored, and shown to models, as they are."""

_SECRET = re.compile(
    r"api_?key|admin_key|tls_key|access_?key|private_?key|content_key|token|secret|password|credential|authoriz|fernet"
)
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_PASSWORD_IN_WORDS = re.compile(r"(?i)(?<=password=)('(?:[^'\\]|\\.)*'|[^\s&]+)")
"""In `host=db password=...`, and in the query of a URL."""
_HIDDEN = "***"


def redacted(value: Json, name: str = "") -> Json:
    """`value` as people may see it: what `name`, or a key inside, says is secret is hidden."""
    if value in (None, "") or isinstance(value, bool):
        return value
    key = name.lower().replace("-", "_")
    counts = key.endswith(("tokens", "tokens_per_minute")) and isinstance(value, int | float)
    if _SECRET.search(key) and not counts:
        return _HIDDEN
    if isinstance(value, Mapping):
        return {key: redacted(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    if not isinstance(value, str):
        return value
    return _PASSWORD_IN_WORDS.sub(_HIDDEN, _USER_IN_URL.sub(_HIDDEN, value))


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A model chosen by the name of its provider, with the provider's own settings."""

    provider: str
    config: dict[str, Json] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Part(provider={self.provider!r}, config={redacted(self.config)!r})"


def _local_embedder() -> Part:
    return Part(provider=LOCAL_EMBEDDER)


def _own_records() -> Part:
    return Part(provider=RECORDS)


def _own_index() -> Part:
    return Part(provider=INDEX)


def _own_cache() -> Part:
    return Part(provider=CACHE)


def _no_keyring() -> Part:
    return Part(provider=NO_KEYRING)


def _no_redaction() -> Part:
    return Part(provider=NO_REDACTION)


def home_folder(environ: Mapping[str, str] | None = None) -> str:
    """The folder of everything that is not placed elsewhere."""
    home = (os.environ if environ is None else environ).get("HOLDFAST_HOME", "").strip()
    if home:
        return home
    from platformdirs import user_data_dir

    return user_data_dir("holdfast", appauthor=False)


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting. `load_config` makes a checked one; its repr shows no secrets."""

    path: Annotated[
        str, Meta(description="Folder of the embedded store; its database is `holdfast.db`.")
    ] = msgspec.field(default_factory=home_folder)
    project: Annotated[
        str, Meta(description="Tenant: memories of one project are never seen from another.")
    ] = DEFAULT_PROJECT
    records: Annotated[
        Part,
        Meta(description="The system of record: `sqlite` in `path`, or `postgres`."),
    ] = msgspec.field(default_factory=_own_records)
    index: Annotated[
        Part,
        Meta(
            description="What finds memories: `embedded`, `qdrant`, `pgvector`, `pinecone`, "
            "`weaviate` or `sharded`."
        ),
    ] = msgspec.field(default_factory=_own_index)
    cache: Annotated[
        Part,
        Meta(description="What keeps answers for a while: `process`, or a `redis` for several."),
    ] = msgspec.field(default_factory=_own_cache)
    seal: Annotated[
        Part,
        Meta(
            description="Where the master keys are that texts and vectors are sealed with: "
            "`environment`, `file`, `vault`, `aws-kms`, `gcp-kms` or `azure-key-vault`; `none` "
            "stores them in the clear."
        ),
    ] = msgspec.field(default_factory=_no_keyring)
    audit: Annotated[
        str,
        Meta(
            description="What leaves a row in the audit: `off`, `writes` (and administrative acts "
            "and denials) or `all`; `auto` is `writes` for a library and `all` for a deployment."
        ),
    ] = "auto"
    audit_reads: Annotated[
        str,
        Meta(
            description="When rows of reads and denials are written: `batched`, within a second "
            "(a killed process loses as much), or `durable`, before the answer."
        ),
    ] = "batched"
    audit_days: Annotated[
        int,
        Meta(
            ge=0, le=36_500, description="Days rows of the audit are kept; 0 keeps them for good."
        ),
    ] = 0
    redaction: Annotated[
        Part,
        Meta(
            description="What takes personal data out of texts for models, or before they are "
            "stored: `patterns` or `presidio`; `none` leaves it in."
        ),
    ] = msgspec.field(default_factory=_no_redaction)
    backup: Annotated[
        Part | None,
        Meta(description="Where backups are kept: `folder`, `s3`, `gcs` or `azure`."),
    ] = None
    embedder: Annotated[
        Part,
        Meta(description="Model that turns text into vectors. `wordllama` works offline."),
    ] = msgspec.field(default_factory=_local_embedder)
    embedder_before: Annotated[
        Part | None,
        Meta(
            description="The embedder whose vectors the store has, while it is being changed for "
            "`embedder`."
        ),
    ] = None
    llm: Annotated[
        Part | None,
        Meta(description="Model that extracts facts. Without one, each message is a memory."),
    ] = None
    reranker: Annotated[
        Part | None, Meta(description="Model that orders results anew for `rerank=True`.")
    ] = None
    prices: Annotated[
        dict[str, ModelPrice],
        Meta(
            description="What models cost by `provider:model`, in US dollars for a million tokens, "
            "where the price list that comes with the package does not know it, or you have other "
            "prices."
        ),
    ] = msgspec.field(default_factory=dict)
    retention: Annotated[
        dict[Rule, Days],
        Meta(
            description="What is removed for good in every project, and from which age on, in "
            "days: `turns: 90`. A project's own rule holds where it is shorter."
        ),
    ] = msgspec.field(default_factory=dict)
    trust: Annotated[
        TrustPolicy,
        Meta(
            description="Whose turns are held until they are approved. Recommended where agents"
            " read what strangers wrote: `roles: {tool: untrusted, function: untrusted}`."
        ),
    ] = TrustPolicy()
    custom_instructions: Annotated[
        str | None, Meta(description="What extraction is to look for, or to leave alone.")
    ] = None
    timezone: Annotated[
        str, Meta(description='IANA time zone in which "yesterday" is understood.')
    ] = "UTC"
    threshold: Annotated[
        float, Meta(ge=0, le=1, description="Lowest score of a search result.")
    ] = 0.1
    view_bytes_max: Annotated[
        int,
        Meta(ge=1, le=2**40, description="Bytes of working sets the index keeps in memory."),
    ] = limits.VIEW_BYTES_MAX
    view_rows_max: Annotated[
        int,
        Meta(
            ge=1,
            le=2**31,
            description="Memories of one user, agent, app or run, or of all with `*`, that are "
            "ranked in memory at most, about 5 kB each; a search of more is refused.",
        ),
    ] = limits.VIEW_ROWS_MAX
    read_connections_max: Annotated[
        int, Meta(ge=1, le=64, description="Connections that read the database at once.")
    ] = limits.READ_CONNECTIONS_MAX
    busy_timeout_s: Annotated[
        float,
        Meta(ge=0, le=3600, description="Seconds to wait for another process that is writing."),
    ] = limits.BUSY_TIMEOUT_S
    model_timeout_s: Annotated[
        float,
        Meta(ge=0.1, le=3600, description="Seconds one model call may take, retries included."),
    ] = limits.MODEL_TIMEOUT_S
    model_attempts_max: Annotated[
        int, Meta(ge=1, le=20, description="Tries of one model call before it has failed.")
    ] = 4
    breaker_failures: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Failures in a row after which a model, an external index or a shard of "
            "one is left alone.",
        ),
    ] = 5
    breaker_open_s: Annotated[
        float,
        Meta(
            ge=0.01,
            le=3600,
            description="Seconds it is left alone the first time; they double with each failure "
            "that follows, up to `breaker_open_max_s`.",
        ),
    ] = 1.0
    breaker_open_max_s: Annotated[
        float,
        Meta(ge=0.01, le=3600, description="Longest time it is left alone, at least the first."),
    ] = 30.0
    job_attempts_max: Annotated[
        int,
        Meta(ge=1, le=100, description="Tries of one extraction before it waits for `rerun`."),
    ] = limits.JOB_ATTEMPTS_MAX
    content_key: Annotated[
        str | None,
        Meta(
            description="Secret, up to 64 bytes, that keys content hashes and index terms. "
            "Set it before the first memory and keep it: under another key, keywords find nothing."
        ),
    ] = None
    workers: Annotated[
        int, Meta(ge=0, le=64, description="Background tasks that extract facts.")
    ] = 1
    server: ServerConfig = msgspec.field(default_factory=ServerConfig)

    def __repr__(self) -> str:
        shown = (f"{name}={_shown(name, getattr(self, name))!r}" for name in self.__struct_fields__)
        return f"Config({', '.join(shown)})"


def _shown(name: str, value: Json) -> Json:
    if isinstance(value, ServerConfig | TrustPolicy):
        return redacted(msgspec.structs.asdict(value))
    return value if isinstance(value, Part) else redacted(value, name)


class Resolved(Struct, frozen=True, kw_only=True):
    """A checked configuration, and where each of its settings comes from."""

    config: Config
    origins: dict[str, str]
    """Dotted name to "default", "file <name>", "environment <VARIABLE>" or "argument"."""

    def settings(self) -> dict[str, dict[str, Json]]:
        """Dotted name to {"value", "source"}; secrets are hidden."""
        return {
            name: {"value": redacted(value, name.rpartition(".")[2]), "source": self.origins[name]}
            for name, value in leaves(self.config)
        }


def leaves(config: Config) -> Iterator[tuple[str, Json]]:
    """Every setting by its dotted name: parts as their provider and what it takes."""
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, ServerConfig):
            for key, item in msgspec.structs.asdict(value).items():
                yield f"{name}.{key}", item
            continue
        if isinstance(value, Mapping | TrustPolicy):
            yield name, msgspec.to_builtins(value)
            continue
        if not isinstance(value, Part):
            yield name, value
            continue
        yield f"{name}.provider", value.provider
        for key, item in value.config.items():
            yield f"{name}.config.{key}", item
