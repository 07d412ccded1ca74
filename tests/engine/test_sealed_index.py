"""A sealed store shows its external index no text and no word: nothing that an engine is sent, or
has on its disk, holds a canary, through a whole life."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import psycopg
import pytest

from holdfast.admin import AsyncAdmin
from holdfast.core.text import analyze
from holdfast.engine import reindexing
from holdfast.model import Entity, Project
from support import joined, pinecone_wire, postgres, weaviate_wire
from support.llm_server import LLMServer
from support.pinecone_wire import PineconeWire
from support.qdrant_engine import Engine
from support.qdrant_wire import QdrantWire
from support.weaviate_wire import WeaviateWire
from tests.engine.test_external_index import answered, fed
from tests.engine.test_sealed import CANARY, config, keys, live, traces

__all__ = ["keys"]

ENGINES = ("qdrant", "qdrant server", "pgvector", "beside", "sharded", "pinecone", "weaviate")
_TABLES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema$)'
"""


class Place(NamedTuple):
    """An index, and all that came to it."""

    settings: dict[str, Any]
    """Of the store."""
    seen: Callable[[], list[str]]
    """What the engine was sent or keeps, beside files in the test's folder."""


def rows(url: str) -> list[str]:
    """Every row of a database."""
    with psycopg.connect(url) as connection:
        connection.execute("SET holdfast.reach = 'all'")
        tables = [name for (name,) in connection.execute(_TABLES)]
        told = [connection.execute(f"SELECT t::text FROM {name} t".encode()) for name in tables]
        return [row for cursor in told for (row,) in cursor]


def made(engine: str, tmp_path: Path, stack: ExitStack) -> Place:
    """An index of an engine, gone with the stack."""

    def index(provider: str, seen: Callable[[], list[str]], **config: Any) -> Place:
        asked = {"exact_rows": 0, **config}  # the engine, however little there is
        return Place({"index": {"provider": provider, "config": asked}}, seen)

    def folder(name: str) -> dict[str, Any]:
        return {"provider": "qdrant", "config": {"path": str(tmp_path / name)}}

    if engine == "qdrant":
        return index("qdrant", list, path=str(tmp_path / "qdrant"))
    if engine == "sharded":
        return index("sharded", list, shards=[{"name": n, **folder(n)} for n in ("a", "b")])
    if engine == "qdrant server":
        # what it was sent is looked at, not its files, which are large and nearly empty
        real = Engine(Path(stack.enter_context(TemporaryDirectory())))
        stack.callback(real.close)
        served = QdrantWire(real)
        stack.callback(served.close)
        return index("qdrant", lambda: [repr(one) for one in served.requests], url=served.url)
    if engine == "pinecone":
        pinecone = stack.enter_context(PineconeWire())
        given = {"api_key": pinecone_wire.KEY, "url": pinecone.url, "settles_s": 0}
        return index("pinecone", lambda: [repr(one) for one in pinecone.asked], **given)
    if engine == "weaviate":
        weaviate = stack.enter_context(WeaviateWire())
        given = {"api_key": weaviate_wire.KEY, "url": weaviate.url, "grpc_url": weaviate.grpc_url}
        return index("weaviate", lambda: [repr(weaviate.held), repr(weaviate.asked)], **given)
    url = stack.enter_context(joined.database())
    place = index("pgvector", lambda: rows(url), url=url)
    if engine == "beside":
        place.settings["records"] = {"provider": "postgres", "config": {"url": url}}
    return place


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param in ("pgvector", "beside") and postgres.programs(18) is None:
        pytest.skip("Postgres with pgvector is not installed")
    with ExitStack() as stack, patch.multiple(reindexing, SWITCH_S=0.0, AGAIN_S=0.0):
        yield made(request.param, tmp_path, stack)


def has_files(tmp_path: Path) -> bool:
    """Whether Qdrant's local mode keeps anything."""
    return any(file.stat().st_size for file in tmp_path.rglob("*.sqlite"))


def leaks(place: Place, tmp_path: Path) -> list[str]:
    """Where the canary stands."""
    return [*traces(tmp_path), *(one for one in place.seen() if CANARY in one.lower())]


async def known(admin: AsyncAdmin, *, keyed: bool) -> bool:
    """Whether an engine finds the canary by its mark, made with the key or without one."""
    parts = await admin.memory()._ready()
    assert parts.feeder is not None
    vectors = await parts.feeder.collection(await parts.feeder.build())
    marks = analyze(CANARY, actor=None, role=None, key=parts.content_key if keyed else b"").terms
    whose = Entity("user", "alice")
    [found] = await vectors.holders(
        Project("default"), whose, [[int.from_bytes(marks[:8], "little")]], 10
    )
    return bool(found.matches)


async def test_no_canary_comes_to_an_engine(
    place: Place, tmp_path: Path, keys: Path, server: LLMServer
) -> None:
    scripted = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
    llm = {"provider": "openai", "config": scripted}
    seal = {"path": str(keys), "sensitive_metadata": ["note"]}
    settings = config(
        tmp_path, None, llm=llm, model_attempts_max=1, job_attempts_max=1, **place.settings
    )
    settings["seal"] = {"provider": "file", "config": seal}
    async with AsyncAdmin(settings) as admin:
        memory = admin.memory()
        await live(memory, server)
        kept = await memory.add(
            f"Packed for {CANARY}", metadata={"note": CANARY}, user_id="alice", infer=False
        )
        await fed(admin.index)
        found = await memory.search(f"who packed for {CANARY}", filters={"user_id": "alice"})
        assert CANARY in found["results"][0]["memory"]
        assert set(answered(admin)) <= {"candidates", "unfed"}
        assert await known(admin, keyed=True), "the engine has no words at all"
        assert not await known(admin, keyed=False), "anybody with a dictionary reads its words"
        await admin.index.rebuild()
        await memory.update(kept["results"][0]["id"], f"Unpacked in {CANARY}")
        await fed(admin.index)
        assert (await admin.index.verify(repair=True)).total == 0
        assert leaks(place, tmp_path) == []
        await memory.delete_all(user_id="alice")
        await fed(admin.index)
        assert leaks(place, tmp_path) == []
    assert leaks(place, tmp_path) == []
    assert place.seen() or has_files(tmp_path), "nothing was kept at all"


async def test_a_canary_that_is_sent_is_found(place: Place, tmp_path: Path, keys: Path) -> None:
    """The search for canaries finds them where there are some: a project has a name."""
    async with AsyncAdmin(config(tmp_path, keys, **place.settings)) as admin:
        await admin.memory(f"of-{CANARY}").add("I packed.", user_id="alice", infer=False)
        await fed(admin.index)
    outside = [file for file in traces(tmp_path) if not file.startswith(str(tmp_path / "store"))]
    assert outside or any(CANARY in one.lower() for one in place.seen())
