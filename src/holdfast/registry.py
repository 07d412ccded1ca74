"""Names in a configuration to the parts they mean; each is imported only when chosen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

from msgspec import Meta
from msgspec.structs import replace

from holdfast.clock import Clock, Ids, SystemClock
from holdfast.config import (
    CACHE,
    INDEX,
    LOCAL_EMBEDDER,
    NO_KEYRING,
    NO_REDACTION,
    RECORDS,
    BackupSettings,
    CacheSettings,
    ChosenModel,
    Config,
    Part,
    RedisSettings,
    chosen_models,
    part_settings,
)
from holdfast.core.breaker import BreakerBounds
from holdfast.errors import ConfigError, MissingExtraError, UnsupportedError
from holdfast.limits import EXACT_ROWS
from holdfast.metrics import Metrics
from holdfast.model import Space, Struct
from holdfast.ports import (
    LLM,
    BoundLLM,
    Cache,
    Directory,
    Embedder,
    IndexSource,
    Jobs,
    Records,
    Reranker,
    Sender,
    Spaces,
    Vectors,
)
from holdfast.ports.archiving import Archiving
from holdfast.ports.audit import Trail
from holdfast.ports.destination import Destination
from holdfast.ports.moving import Moving
from holdfast.ports.redactor import Redactor
from holdfast.ports.sealing import Seals
from holdfast.ports.subjects import Subjects

if TYPE_CHECKING:
    from holdfast.backends.models.prices import ListPrices
    from holdfast.backends.redactors.providers import PatternSettings
    from holdfast.backends.sql.keys import Sealing
    from holdfast.engine.backups import Shelf

S = TypeVar("S", bound=Struct)


class Store(Records, Jobs, Protocol):
    """A record database with its queue and its directory."""

    @property
    def directory(self) -> Directory:
        """The directory in the same database."""

    def gauges(self) -> Mapping[str, Callable[[], float]]:
        """How busy it is: names of `metrics.GAUGES`, and what reads their values."""

    on_commit: Callable[[], None]
    """Called after each commit of this process."""

    content_key: bytes
    """The content key it made for itself, if none was configured; known once it is open."""

    @property
    def key_mark(self) -> int:
        """Tells the content key that contents and words are keyed by from others; once open."""

    cache_key: bytes
    """Seals what is cached elsewhere; empty where texts are not sealed; known once it is open."""

    @property
    def indexing(self) -> IndexSource:
        """What an external index asks of the records."""

    @property
    def trail(self) -> Trail:
        """The audit in the same database."""

    @property
    def seals(self) -> Seals | None:
        """Work on all sealed texts; None if the store is a plain one."""

    async def release(self) -> None:
        """Let go of what the keyring holds. Idempotent."""

    @property
    def subjects(self) -> Subjects:
        """What the same database keeps of one subject."""

    @property
    def moving(self) -> Moving:
        """Reads whole memories, to put them elsewhere."""

    @property
    def spaces(self) -> Spaces:
        """The embedding spaces of the same database."""

    def close_now(self) -> None:
        """`close` for callers without an event loop."""


VECTORS: dict[str, str] = {
    "qdrant": "holdfast.backends.qdrant.vectors",
    "pgvector": "holdfast.backends.pgvector.vectors",
    "pinecone": "holdfast.backends.pinecone.vectors",
    "weaviate": "holdfast.backends.weaviate.vectors",
}
"""The module of each kind of engine; it has `build(part, collection)`."""
SHARDED = "sharded"
"""The kind of external index that is made of several."""


class IndexSettings(Struct, frozen=True, kw_only=True):
    """What every external index takes beside the settings of its kind."""

    collection: Annotated[str, Meta(pattern=r"\A[A-Za-z][A-Za-z0-9_-]{0,47}\Z")] = "holdfast"
    """Name of its collection; one that is built anew has a number behind it."""
    exact_rows: Annotated[int, Meta(ge=0, le=1_000_000)] = EXACT_ROWS
    """Entities of up to so many memories are ranked from working sets of the records, kept in
    memory up to `view_bytes_max`, without asking the index; 0: the index is always asked."""


def providers() -> dict[str, list[str]]:
    """The names that `llm` and `embedder` know."""
    from holdfast.backends.models.catalog import PROVIDERS

    llms = [one.name for one in PROVIDERS.values() if one.family != "local"]
    without = ("anthropic", "groq")
    embedders = [one.name for one in PROVIDERS.values() if one.family not in without]
    return {"llm": llms, "embedder": [LOCAL_EMBEDDER, *embedders]}


def check_stores(config: Config) -> None:
    """Refuse stores that nobody has made yet. Raises ConfigError."""
    if config.index.provider != INDEX:
        index_settings(config.index)


def index_settings(part: Part) -> tuple[IndexSettings, Part]:
    """What is said of any external index, and what is left for the kind. Raises ConfigError."""
    if part.provider not in (*VECTORS, SHARDED):
        known = ", ".join((INDEX, *VECTORS, SHARDED))
        raise ConfigError(
            f"index.provider: there is no {part.provider[:64]!r}.", hint=f"Known are {known}."
        )
    return _divided(IndexSettings, part, "index")


def _divided(kind: type[S], part: Part, place: str) -> tuple[S, Part]:
    """The settings that every provider of a part takes, and what is left for this one."""
    common = kind.__struct_fields__
    mine = {key: value for key, value in part.config.items() if key in common}
    rest = {key: value for key, value in part.config.items() if key not in common}
    return part_settings(kind, Part(part.provider, mine), place), Part(part.provider, rest)


def breaker_of(config: Config) -> BreakerBounds:
    """When models and indexes of other machines are left alone."""
    return BreakerBounds(
        failures_in_row=config.breaker_failures,
        pause_s=config.breaker_open_s,
        pause_max_s=config.breaker_open_max_s,
    )


def make_vectors(
    part: Part,
    collection: str,
    directory: Directory,
    bounded: Callable[[Part, Vectors], Vectors],
    breaker: BreakerBounds | None = None,
) -> Vectors:
    """A collection of the configured external index, unopened; `part` as `index_settings` leaves
    it, `bounded` is put around each engine, `breaker` before each shard. Raises ConfigError,
    MissingExtraError."""

    def engine(own: Part, name: str) -> Vectors:
        return bounded(own, _engine(own, name))

    if part.provider != SHARDED:
        return engine(part, collection)
    from holdfast.backends.sharded.maps import DirectoryShardMaps
    from holdfast.backends.sharded.vectors import build

    maps = DirectoryShardMaps(directory)
    return build(part, collection, make=engine, maps=maps, breaker=breaker)


def _engine(part: Part, collection: str) -> Vectors:
    module = VECTORS.get(part.provider)
    if module is None:
        raise ConfigError(
            f"index.config.shards: there is no engine {part.provider[:64]!r}.",
            hint=f"Known are {', '.join(VECTORS)}.",
        )
    try:
        build: Callable[[Part, str], Vectors] = import_module(module).build
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"The index {part.provider} needs the package {error.name}.",
            hint=f"pip install 'holdfast[{part.provider}]'.",
        ) from error
    return build(part, collection)


def make_records(config: Config, clock: Clock, ids: Ids) -> Store:
    """The configured record database, unopened. Raises ConfigError, MissingExtraError."""
    provider = config.records.provider
    if provider == RECORDS:
        from holdfast.backends.sqlite.records import DATABASE, SqliteRecords

        return SqliteRecords(
            Path(config.path) / DATABASE,
            clock,
            ids,
            readers_max=config.read_connections_max,
            busy_timeout_s=config.busy_timeout_s,
            sealing=make_sealing(config.seal),
        )
    if provider == "postgres":
        try:
            from holdfast.backends.postgres.records import PostgresRecords
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"Records in Postgres need the package {error.name}.",
                hint="pip install 'holdfast[postgres]'.",
            ) from error
        return PostgresRecords.configured(config.records, clock, ids, make_sealing(config.seal))
    raise ConfigError(
        f"records.provider: there is no {provider[:64]!r}.", hint="Known are sqlite and postgres."
    )


class SealSettings(Struct, frozen=True, kw_only=True):
    """What sealing takes beside the settings of the keyring."""

    fernet_keys: tuple[str, ...] = ()
    """Keys of an earlier setup whose texts, encrypted by Fernet, are to be read."""
    sensitive_metadata: tuple[str, ...] = ()
    """Keys of metadata whose values are sealed too."""


def make_sealing(part: Part) -> Sealing | None:
    """What texts are sealed with; None if they are not. Raises ConfigError, MissingExtraError."""
    if part.provider == NO_KEYRING:
        if part.config:
            raise ConfigError(
                "seal.config is set, and seal.provider is none.", hint="Choose a provider."
            )
        return None
    from holdfast.backends.keyrings.providers import build
    from holdfast.backends.sql.keys import Sealing
    from holdfast.backends.sql.sealing import Sealer

    settings, rest = _divided(SealSettings, part, "seal")
    keys = tuple(key.encode() for key in settings.fernet_keys)
    return Sealing(build(rest), Sealer(keys, settings.sensitive_metadata))


def make_redactor(part: Part) -> tuple[Redactor, PatternSettings] | None:
    """What takes personal data out of texts, and its settings; None if nothing does.

    Raises ConfigError, MissingExtraError.
    """
    if part.provider == NO_REDACTION:
        if part.config:
            raise ConfigError(
                "redaction.config is set, and redaction.provider is none.",
                hint="Choose a provider.",
            )
        return None
    from holdfast.backends.redactors.providers import build

    return build(part)


def make_embedder(part: Part) -> Embedder:
    """The configured embedder. Raises ConfigError, MissingExtraError, ModelError."""
    if part.provider == LOCAL_EMBEDDER:
        from holdfast.backends.local_embedder import LocalEmbedder

        return LocalEmbedder()
    from holdfast.backends.models.providers import build_embedder

    return build_embedder(part.provider, part.config)


def make_prices(config: Config) -> ListPrices:
    """What calls of models cost."""
    from holdfast.backends.models.prices import ListPrices

    return ListPrices(config.prices)


def make_llms(part: Part | None) -> list[tuple[BoundLLM, ChosenModel]]:
    """The configured language model and its fallbacks, in the order in which they are asked.

    Raises ConfigError, MissingExtraError.
    """
    if part is None:
        return []
    from holdfast.backends.models.providers import build_llm

    chosen = chosen_models(part, "llm")
    return [(build_llm(one.part.provider, one.part.config), one) for one in chosen]


def make_rerankers(
    part: Part | None, llm: Part | None, budgeted: Callable[[BoundLLM], LLM]
) -> list[tuple[Reranker, ChosenModel]]:
    """The configured reranker and its fallbacks; those that ask a language model may ask `llm`.

    `budgeted` is put around the language models they ask.
    Raises ConfigError, MissingExtraError.
    """
    if part is None:
        return []
    from holdfast.backends.models.rerankers import build_reranker

    asked = None if llm is None else chosen_models(llm, "llm")[0].part
    return [
        (build_reranker(one.part, asked, budgeted), one) for one in chosen_models(part, "reranker")
    ]


def cache_settings(part: Part) -> CacheSettings:
    """The settings of the cache, a RedisSettings for one in Redis. Raises ConfigError."""
    kinds: dict[str, type[CacheSettings]] = {CACHE: CacheSettings, "redis": RedisSettings}
    kind = kinds.get(part.provider)
    if kind is None:
        raise ConfigError(
            f"cache.provider: there is no {part.provider[:64]!r}.",
            hint=f"Known are: {', '.join(kinds)}.",
        )
    return part_settings(kind, part, "cache")


async def make_cache(settings: CacheSettings, metrics: Metrics, bytes_max: int) -> Cache:
    """The configured cache, open; one in this process holds `bytes_max` bytes.

    Raises ConfigError, MissingExtraError; a Redis that is away is gone without.
    """
    if not isinstance(settings, RedisSettings):
        from holdfast.backends.process_cache import ProcessCache

        return ProcessCache(bytes_max)
    try:
        from holdfast.backends.redis.cache import RedisCache
    except ModuleNotFoundError:
        raise MissingExtraError(
            "A cache in Redis needs its client.", hint="pip install 'holdfast[redis]'"
        ) from None
    cache = RedisCache(settings, metrics)
    await cache.open()
    return cache


def make_sender(private: bool) -> Sender:
    """What sends to webhooks; `private`: whether to the own network too. MissingExtraError."""
    try:
        from holdfast.backends.webhook_sender import HttpSender
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Webhooks need the package httpx.", hint="pip install 'holdfast[server]'."
        ) from error
    return HttpSender(private=private)


# ------------------------------------------------------------------ backups


def backup_settings(config: Config) -> tuple[BackupSettings, Part]:
    """What is said of backups wherever they are kept, and what is left for the kind of place.

    Raises UnsupportedError where nothing is, ConfigError.
    """
    if config.backup is None:
        raise UnsupportedError(
            "It is not configured where backups are kept.",
            hint="Set `backup`, or name a folder or address (--at).",
        )
    return _divided(BackupSettings, config.backup, "backup")


def make_destination(part: Part) -> Destination:
    """Where backups are kept; `part` as `backup_settings` leaves it.

    Raises ConfigError, MissingExtraError.
    """
    if part.provider == "folder":
        from holdfast.backends.backups.folder import FolderDestination, FolderSettings

        settings = part_settings(FolderSettings, part, "backup")
        return FolderDestination(Path(settings.path).expanduser())
    if part.provider not in ("s3", "gcs", "azure"):
        raise ConfigError(
            f"backup.provider: there is no {part.provider[:64]!r}.",
            hint="Known are folder, s3, gcs and azure.",
        )
    try:
        from holdfast.backends.backups.bucket import ObjectDestination
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"Backups in a bucket need the package {error.name}.",
            hint="pip install 'holdfast[backup]'.",
        ) from error
    return ObjectDestination.configured(part)


def make_archiving(config: Config, clock: Clock) -> Archiving:
    """The tables of the configured record database. Raises ConfigError, MissingExtraError."""
    if config.records.provider == RECORDS:
        from holdfast.backends.sqlite.archiving import SqliteArchiving
        from holdfast.backends.sqlite.records import DATABASE

        return SqliteArchiving(Path(config.path) / DATABASE, clock, config.busy_timeout_s)
    make_records(config, clock, Ids(clock))  # says what is wrong with the name, or is missing
    from holdfast.backends.postgres.archiving import PostgresArchiving
    from holdfast.backends.postgres.settings import read_settings

    return PostgresArchiving(read_settings(config.records), clock)


@asynccontextmanager
async def opened_beside(config: Config, folder: Path, space: Space) -> AsyncIterator[Store]:
    """A store in a folder, sealed as the configured one and keyed as it is, to read from.

    Raises SpaceMismatchError, ConfigError, KeyRingError, StoreError.
    """
    from holdfast.backends.sqlite.records import DATABASE, bound_to

    beside = replace(config, path=str(folder), records=Part(RECORDS))
    clock = SystemClock()
    records = make_records(beside, clock, Ids(clock))
    try:
        await records.open(space, await asyncio.to_thread(bound_to, folder / DATABASE))
        yield records
    finally:
        await records.close()
        await records.release()


def make_shelf(config: Config, clock: Clock) -> Shelf:
    """The configured store and where its backups are kept. Raises ConfigError,
    MissingExtraError."""
    from holdfast.backends.backups.codecs import codec
    from holdfast.backends.sqlite.archiving import SqliteArchiving
    from holdfast.backends.sqlite.records import DATABASE
    from holdfast.engine.backups import Shelf

    settings, part = backup_settings(config)
    sealing = make_sealing(config.seal)
    return Shelf(
        archiving=make_archiving(config, clock),
        destination=make_destination(part),
        codecs=codec,
        ring=None if sealing is None else sealing.ring,
        clock=clock,
        scratch=lambda folder: SqliteArchiving(folder / DATABASE, clock),
        compression=settings.compression,
        full_every_s=86_400 * settings.full_every_days,
    )
