"""Names in a configuration to the parts they mean; each is imported only when chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from holdfast.clock import Clock, Ids
from holdfast.config import (
    CACHE,
    INDEX,
    LOCAL_EMBEDDER,
    RECORDS,
    ChosenModel,
    Config,
    Part,
    chosen_models,
)
from holdfast.errors import ConfigError, MissingExtraError
from holdfast.ports import LLM, Directory, Embedder, Jobs, Records, Reranker, Sender


class Store(Records, Jobs, Protocol):
    """A record database with its queue and its directory."""

    @property
    def directory(self) -> Directory:
        """The directory in the same database."""

    def gauges(self) -> Mapping[str, Callable[[], float]]:
        """How busy it is: names of `metrics.GAUGES`, and what reads their values."""

    def close_now(self) -> None:
        """`close` for callers without an event loop."""


def providers() -> dict[str, list[str]]:
    """The names that `llm` and `embedder` know."""
    from holdfast.backends.models_catalog import PROVIDERS

    llms = [one.name for one in PROVIDERS.values() if one.family != "local"]
    without = ("anthropic", "groq")
    embedders = [one.name for one in PROVIDERS.values() if one.family not in without]
    return {"llm": llms, "embedder": [LOCAL_EMBEDDER, *embedders]}


def check_stores(config: Config) -> None:
    """Refuse stores that nobody has made yet. Raises ConfigError."""
    for name, known in (("index", INDEX), ("cache", CACHE)):
        provider = getattr(config, name).provider
        if provider != known:
            raise ConfigError(
                f"{name}.provider: there is no {provider[:64]!r}.", hint=f"Known is {known!r}."
            )


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
        )
    if provider == "postgres":
        try:
            from holdfast.backends.postgres.records import PostgresRecords
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"Records in Postgres need the package {error.name}.",
                hint="pip install 'holdfast[postgres]'.",
            ) from error
        return PostgresRecords.configured(config.records, clock, ids)
    raise ConfigError(
        f"records.provider: there is no {provider[:64]!r}.", hint="Known are sqlite and postgres."
    )


def make_embedder(part: Part) -> Embedder:
    """The configured embedder. Raises ConfigError, MissingExtraError, ModelError."""
    if part.provider == LOCAL_EMBEDDER:
        from holdfast.backends.local_embedder import LocalEmbedder

        return LocalEmbedder()
    from holdfast.backends.models import build_embedder

    return build_embedder(part.provider, part.config)


def make_llms(part: Part | None) -> list[tuple[LLM, ChosenModel]]:
    """The configured language model and its fallbacks, in the order in which they are asked.

    Raises ConfigError, MissingExtraError.
    """
    if part is None:
        return []
    from holdfast.backends.models import build_llm

    chosen = chosen_models(part, "llm")
    return [(build_llm(one.part.provider, one.part.config), one) for one in chosen]


def make_rerankers(part: Part | None, llm: Part | None) -> list[tuple[Reranker, ChosenModel]]:
    """The configured reranker and its fallbacks; those that ask a language model may ask `llm`.

    Raises ConfigError, MissingExtraError.
    """
    if part is None:
        return []
    from holdfast.backends.rerankers import build_reranker

    asked = None if llm is None else chosen_models(llm, "llm")[0].part
    return [(build_reranker(one.part, asked), one) for one in chosen_models(part, "reranker")]


def make_sender(private: bool) -> Sender:
    """What sends to webhooks; `private`: whether to the own network too. MissingExtraError."""
    try:
        from holdfast.backends.webhook_sender import HttpSender
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Webhooks need the package httpx.", hint="pip install 'holdfast[server]'."
        ) from error
    return HttpSender(private=private)
