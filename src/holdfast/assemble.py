"""Wiring: the only place that knows all parts, and the order in which they are wrapped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast
from zoneinfo import ZoneInfo

import msgspec

import holdfast
from holdfast import deadline
from holdfast.acts import acting, doing, process_actor
from holdfast.assemble_index import make_index
from holdfast.clock import Clock, Ids, SystemClock, process_tag
from holdfast.config import (
    LOCAL_EMBEDDER,
    NO_KEYRING,
    CacheSettings,
    ChosenModel,
    Config,
    Part,
    RedisSettings,
    chosen_embedder,
)
from holdfast.core.fence import Fence
from holdfast.core.identity import key_mark
from holdfast.core.packing import Packing
from holdfast.core.text import ANALYSIS, analyze
from holdfast.core.weights import PROFILES
from holdfast.engine import worker
from holdfast.engine.auditing import Auditor
from holdfast.engine.embedders import Embedders
from holdfast.engine.ending import ended, ended_now
from holdfast.engine.parts import Parts
from holdfast.engine.redaction import Hiding
from holdfast.engine.savings import Savings
from holdfast.engine.tolls import Tollgate
from holdfast.errors import ConfigError
from holdfast.metrics import Metrics
from holdfast.model import IndexTerms, Project, Space, Trust
from holdfast.ports import LLM, Cache, Embedder, Records, Reranker, Toll
from holdfast.ports.redactor import Redactor
from holdfast.registry import (
    Store,
    breaker_of,
    cache_settings,
    check_stores,
    make_cache,
    make_embedder,
    make_llms,
    make_prices,
    make_records,
    make_redactor,
    make_rerankers,
)
from holdfast.wrap.audited import AuditedDirectory, AuditedRecords
from holdfast.wrap.cached_embedder import CachedEmbedder
from holdfast.wrap.cached_index import CachedIndex

if TYPE_CHECKING:
    from holdfast.backends.index.candidates import CandidateIndex
    from holdfast.backends.index.embedded import EmbeddedIndex
    from holdfast.backends.models.endpoints import Endpoints
    from holdfast.backends.models.prices import ListPrices
    from holdfast.backends.postgres.records import PostgresRecords
    from holdfast.backends.redactors.providers import PatternSettings

_log = logging.getLogger("holdfast")


Redaction = tuple[Redactor, "PatternSettings"] | None
"""What finds personal data, and what is to be done with it."""


@dataclass
class Assembly:
    """The assembled parts, the workers that run beside them, and how to take them down."""

    parts: Parts
    records: Store
    index: EmbeddedIndex | CandidateIndex
    """What searches where nothing is cached."""
    cache: Cache
    workers: list[asyncio.Task[None]]
    endpoints: Endpoints | None = None
    """Where models of other machines are asked, if there are any."""
    borrowed: bool = False
    """Whether this is a view, and the parts are another assembly's to close."""

    def within(self, project: Project, fence: Fence, trust: Trust) -> Assembly:
        """The same parts for another project, or for a part of one."""
        parts = replace(self.parts, project=project, fence=fence, trust=trust)
        return replace(self, parts=parts, workers=[], borrowed=True)

    async def clear_cache(self) -> None:
        """Forget cached answers and vectors. Raises CacheUnavailableError."""
        if isinstance(self.parts.index, CachedIndex):
            self.parts.index.clear()
        await self.cache.clear()

    async def close(self) -> None:
        """Stop the workers, end model connections, close the store."""
        if self.borrowed:
            return
        for task in self.workers:
            task.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)
        if self.parts.feeder is not None:
            await self.parts.feeder.finish()
        await ended(self.parts)
        models = _Models(self.parts.embedders.known, self.parts.llm, self.parts.reranker)
        await _each(self.parts.index.close, models.close, self.cache.close, self.records.release)
        self.close_now()

    def close_now(self) -> None:
        """The same without an event loop; blocks for the writes under way."""
        if self.borrowed:
            return
        for task in self.workers:
            task.cancel()
        ended_now(self.parts)
        if isinstance(self.parts.index, CachedIndex):
            self.parts.index.close_now()
        self.cache.close_now()
        self.index.close_now()
        self.records.close_now()


async def assemble(config: Config, clock: Clock | None = None) -> Assembly:
    """Build and open everything a configuration asks for.

    Raises ConfigError, MissingExtraError, StoreError, SpaceMismatchError, ModelError.
    """
    # workers begun here outlive whoever happened to be first to ask, and are nobody's act
    with deadline.unlimited(), doing(None), acting(process_actor("worker")):
        return await _assembled(config, clock)


async def _assembled(config: Config, clock: Clock | None) -> Assembly:
    check_stores(config)
    redaction = await asyncio.to_thread(_redaction, config)
    clock = clock or SystemClock()
    ids = Ids(clock)
    metrics = Metrics(clock.now)
    records = make_records(config, clock, ids)
    caching = cache_settings(config.cache)
    cache = await make_cache(caching, metrics, _vectors_bytes(config, caching))
    prices = make_prices(config)
    toll = Tollgate(records, records.directory, prices, clock, metrics)
    closers = [cache.close]
    content_key = (config.content_key or "").encode()
    try:
        models = await asyncio.to_thread(_models, config, metrics, cache, (prices, toll), clock.now)
        closers.append(models.close)
        spaces = [each.space for each in models.embedders]
        embedders = Embedders(models.embedders, records.spaces)
        await records.open(spaces[0], key_mark(content_key), spaces[-1])
        await embedders.refresh()
        content_key = content_key or records.content_key
        await _reindexed(records, content_key)
        index, feeder = await make_index(config, records, embedders, metrics, clock)
    except BaseException:
        records.close_now()
        await _each(*closers)
        raise
    _watch(config, records, metrics)
    parts = Parts(
        project=Project(config.project),
        trust_policy=config.trust,
        records=records,
        jobs=records,
        index=index,
        embedders=embedders,
        llm=models.llm,
        reranker=models.reranker,
        clock=clock,
        ids=ids,
        owner=process_tag(),
        content_key=content_key,
        zone=ZoneInfo(config.timezone),
        zone_name=config.timezone,
        instructions=config.custom_instructions,
        threshold=config.threshold,
        model_timeout_s=config.model_timeout_s,
        job_attempts_max=config.job_attempts_max,
        directory=records.directory,
        home=Project(config.project),
        subjects=records.subjects,
        metrics=metrics,
        feeder=feeder,
        seals=records.seals,
        trail=records.trail,
        prices=prices,
        toll=toll,
    )
    parts = _redacting(_audited(parts, config), redaction)
    parts = _cached(parts, config, caching, cache, records.cache_key)
    return Assembly(parts, records, index, cache, _workers(parts, config.workers), models.endpoints)


def _watch(config: Config, records: Store, metrics: Metrics) -> None:
    """Count what the records do."""
    if config.records.provider == "postgres":
        noted = partial(metrics.count, "replica_read")
        cast("PostgresRecords", records).on_replica_read = noted
    for name, read in records.gauges().items():
        metrics.gauge(name, read)


def _audited(parts: Parts, config: Config) -> Parts:
    """The parts, with what takes down what is done to records and directory."""
    if config.audit == "off":
        return parts
    reads, durable = config.audit == "all", config.audit_reads == "durable"
    auditor = Auditor(parts.records, parts.clock, parts.metrics, reads=reads, durable=durable)
    parts.metrics.gauge("audit_rows_waiting", lambda: auditor.waiting)
    now = parts.clock.now
    return replace(
        parts,
        records=AuditedRecords(parts.records, now, parts.metrics),
        directory=AuditedDirectory(parts.directory, now, parts.metrics),
        audit=auditor,
    )


def _vectors_bytes(config: Config, settings: CacheSettings) -> int:
    """Of the bytes for what is cached in this process, those for vectors; answers get the rest."""
    asked = (config.embedder, config.embedder_before or config.embedder)
    local = all(each.provider == LOCAL_EMBEDDER for each in asked)
    if local or not settings.embeddings or isinstance(settings, RedisSettings):
        return 0
    return settings.bytes_max // 2 if settings.results else settings.bytes_max


def _packing(parts: Parts, settings: CacheSettings, cache_key: bytes) -> Packing:
    """How cached values are written: sealed, where texts are and the cache is another program's."""
    secrets = (parts.records.store_id.encode(), parts.content_key)
    if not cache_key or not isinstance(settings, RedisSettings):
        return Packing(*secrets)
    from holdfast.wrap.sealed_packing import SealedPacking

    return SealedPacking(cache_key, *secrets)


def _cached(
    parts: Parts, config: Config, settings: CacheSettings, cache: Cache, cache_key: bytes
) -> Parts:
    """The parts, with what remembers answers and vectors around the index and the embedder."""
    metrics, ttl_s = parts.metrics, settings.ttl_s
    packing = _packing(parts, settings, cache_key)
    index = parts.index

    def remembers(embedder: Embedder) -> Embedder:
        if embedder.in_process:
            return embedder
        return CachedEmbedder(
            embedder, cache, packing, ttl_s=ttl_s, owner=parts.owner, metrics=metrics
        )

    if settings.embeddings:
        parts.embedders.wrap(remembers)
    metrics.gauge("cache_bytes", lambda: cache.nbytes)
    if settings.results:
        index = remembering = CachedIndex(
            index,
            parts.records,
            cache,
            packing,
            ranking=_ranking(config, parts.embedders.known[0].space),
            bytes_max=settings.bytes_max - _vectors_bytes(config, settings),
            ttl_s=ttl_s,
            metrics=metrics,
        )
        metrics.gauge("cache_bytes", lambda: cache.nbytes + remembering.nbytes)
    savings = Savings(parts.records, parts.prices, parts.clock, metrics)
    return replace(parts, index=index, savings=savings, retention=config.retention)


def _ranking(config: Config, space: Space) -> bytes:
    """Tells apart what ranks the same memories differently: versions, spaces, engines."""
    return msgspec.msgpack.encode((holdfast.__version__, ANALYSIS, PROFILES, space, config.index))


class _Models(NamedTuple):
    """The models of a configuration."""

    embedders: tuple[Embedder, ...]
    """The wanted one, and the one before it if it is being changed."""
    llm: LLM | None
    reranker: Reranker | None
    endpoints: Endpoints | None = None

    async def close(self) -> None:
        """Release what they hold; the first failure is raised when all were tried."""
        held = [model for model in (*self.embedders, self.llm, self.reranker) if model is not None]
        await _each(*(model.close for model in held))


async def _reindexed(records: Records, key: bytes) -> None:
    """Bring the index terms of a store that an older Holdfast wrote up to date."""

    def analysed(text: str, actor: str | None, role: str | None) -> IndexTerms:
        return analyze(text, actor=actor, role=role, key=key)

    count = await records.reindex(ANALYSIS, analysed)
    if count:
        _log.warning("analysed %d memories anew: this version reads texts differently", count)


def _models(
    config: Config,
    metrics: Metrics,
    cache: Cache,
    paid: tuple[ListPrices, Toll],
    now: Callable[[], float],
) -> _Models:
    """Models, wrapped where they are somebody else's: see `wrap.models`."""
    chosen = _embedders(config)
    embedders = tuple(embedder for embedder, _ in chosen)
    llms = make_llms(config.llm)
    here = all(each.in_process for each in embedders)
    if here and not llms and config.reranker is None:
        return _Models(embedders, None, None)
    from holdfast.backends.models.endpoints import Endpoints
    from holdfast.wrap.gate import Bounds
    from holdfast.wrap.models import Wrapping

    bounds = Bounds(
        timeout_s=config.model_timeout_s,
        tries_max=config.model_attempts_max,
        breaker=breaker_of(config),
    )
    prices, toll = paid
    wrapping = Wrapping(bounds, metrics, toll, cache if cache.shared else None)
    rerankers = make_rerankers(config.reranker, config.llm, wrapping.budgeted)
    wrapped = _Models(
        tuple(one if one.in_process else wrapping.embedder(one, use) for one, use in chosen),
        wrapping.llm(llms) if llms else None,
        wrapping.reranker(rerankers) if rerankers else None,
        Endpoints(
            {
                "embedder": embedders[:1],
                "llm": [llm for llm, _ in llms],
                "reranker": [reranker for reranker, _ in rerankers],
            },
            now,
        ),
    )
    prices.load(wrapping.paid)
    return wrapped


def _redaction(config: Config) -> Redaction:
    """What finds personal data. Raises ConfigError, MissingExtraError."""
    made = make_redactor(config.redaction)
    keyless = config.content_key is None and config.seal.provider == NO_KEYRING
    if made is not None and made[1].style == "keyed" and keyless:
        raise ConfigError(
            "redaction.config.style is keyed, and there is no key.",
            hint="Set content_key before the first memory, or seal the store.",
        )
    return made


def _redacting(parts: Parts, redaction: Redaction) -> Parts:
    """The parts, with placeholders in what models of other machines see and in what is stored."""
    if redaction is None:
        return parts
    redactor, settings = redaction
    if "storage" in settings.where:
        hiding = Hiding(redactor, settings.style, parts.content_key, parts.metrics)
        parts = replace(parts, hiding=hiding)
    if "model" not in settings.where:
        return parts
    from holdfast.wrap import redacting as wrap

    looker = wrap.Looker(redactor, parts.metrics)
    parts.embedders.wrap(lambda e: e if e.in_process else wrap.RedactingEmbedder(e, looker))
    llm = parts.llm and wrap.RedactingLLM(parts.llm, looker)
    reranker = parts.reranker and wrap.RedactingReranker(parts.reranker, looker)
    return replace(parts, llm=llm, reranker=reranker)


def _embedders(config: Config) -> list[tuple[Embedder, ChosenModel]]:
    """The wanted embedder, and that of the vectors there are if it is another one."""
    wanted = _embedder(config.embedder, "embedder")
    if config.embedder_before is None:
        return [wanted]
    before = _embedder(config.embedder_before, "embedder_before")
    return [wanted] if before[0].space == wanted[0].space else [wanted, before]


def _embedder(part: Part, place: str) -> tuple[Embedder, ChosenModel]:
    chosen = chosen_embedder(part, place)
    embedder = make_embedder(chosen.part)
    if embedder.in_process and chosen.has_rate:
        raise ConfigError(
            f"{place}.config has a rate, and {part.provider} computes in this process.",
            hint="Leave requests_per_minute and tokens_per_minute out.",
        )
    return embedder, chosen


def _workers(parts: Parts, count: int) -> list[asyncio.Task[None]]:
    """Background workers, if there can be work: a model, or an index, that is not in this
    process."""
    feeding = [] if parts.feeder is None else [asyncio.create_task(parts.feeder.serve())]
    here = all(each.in_process for each in parts.embedders.known)
    if parts.llm is None and here:
        return feeding
    return [*feeding, *(asyncio.create_task(worker.serve(parts)) for _ in range(count))]


async def _each(*closers: Callable[[], Awaitable[None]]) -> None:
    """Call every closer, whatever the others do; the first failure is raised at the end."""
    results = await asyncio.gather(*(close() for close in closers), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
