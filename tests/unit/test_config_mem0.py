"""Mem0's configurations: what is translated, what is refused and why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast import registry
from holdfast.config import Part, Resolved, load_config
from holdfast.errors import ConfigError


def load(source: Any, **environ: str) -> Resolved:
    return load_config(source, environ={"HOLDFAST_HOME": "/nowhere", **environ})


def store(provider: str = "qdrant", **config: Any) -> dict[str, Any]:
    return {"vector_store": {"provider": provider, "config": config}}


def test_a_usual_configuration() -> None:
    config = load(
        {
            "vector_store": {
                "provider": "qdrant",
                "config": {"path": "/q", "collection_name": "shop", "embedding_model_dims": 1536},
            },
            "llm": {"provider": "openai", "config": {"model": "gpt", "temperature": 0.1}},
            "embedder": {"provider": "openai", "config": {"embedding_dims": 1536}},
            "reranker": {"provider": "cohere", "config": None},
            "history_db_path": "/h/history.db",
            "version": "v1.1",
            "custom_instructions": "Only food.",
        }
    ).config
    assert (config.path, config.project) == ("/q", "shop")
    assert config.llm == Part("openai", {"model": "gpt", "temperature": 0.1})
    assert config.embedder == Part("openai", {"embedding_dims": 1536})
    assert config.reranker == Part("cohere")
    assert config.custom_instructions == "Only food."


@pytest.mark.parametrize("provider", ["qdrant", "chroma", "faiss"])
def test_local_stores_become_the_embedded_one(provider: str) -> None:
    resolved = load(store(provider, path="/q", collection_name="mem0", host=None, client=None))
    assert (resolved.config.path, resolved.config.project) == ("/q", "default")
    assert resolved.origins["path"] == "argument"


@pytest.mark.parametrize(
    "given",
    [None, {}, {"provider": "qdrant"}, {"config": None}, {"provider": "faiss", "config": {}}],
)
def test_a_store_without_a_path_is_kept_at_home(given: Any) -> None:
    resolved = load({"vector_store": given})
    assert resolved.config.path == "/nowhere"
    assert resolved.origins["path"] == "environment HOLDFAST_HOME"


def test_what_changes_nothing_is_accepted() -> None:
    config = {"path": "/q", "distance_strategy": "cosine", "normalize_L2": True}
    assert load(store("faiss", **config)).config.path == "/q"
    assert load(store(path="/q", on_disk=True)).config.path == "/q"
    assert load({"graph_store": {"provider": "neo4j", "config": None}}).config.path == "/nowhere"


def test_history_names_the_folder_if_nothing_else_does() -> None:
    history = {"history_db_path": "/h/history.db"}
    assert load(history).config.path == "/h"
    assert load(history | store(path="/q")).config.path == "/q"
    assert load(history | {"path": "/p"}).config.path == "/p"
    assert load({"history_db_path": ":memory:"}).config.path == "/nowhere"


def test_the_environment_yields_to_mem0s_words_too() -> None:
    resolved = load(store(path="/q", collection_name="c"), HOLDFAST_PATH="/e", HOLDFAST_PROJECT="p")
    assert (resolved.config.path, resolved.config.project) == ("/q", "c")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (store("milvus"), "vector_store.provider (argument): milvus: there is no such index here"),
        (store("milvus"), "Leave vector_store out to use the embedded one."),
        (store(url="https://x", api_key="s3cret", prefix="p"), "config.prefix (argument): no such"),
        (store(url="https://x", on_disk="yes"), "config.on_disk (argument): expected true or"),
        (store("chroma", tenant="t"), "vector_store.config.tenant"),
        (store("chroma", host="t"), "host (argument): a server of this kind cannot be the index"),
        (store(client=object()), "vector_store.config.client (argument): an object of another"),
        (store("pgvector", connection_pool=object()), "Say where the server is instead."),
        (store("pgvector", user="u", host="h"), "vector_store.config.password (argument)"),
        (store("pgvector", connection_string="postgresql://u:s3cret@h/d", diskann=True), "diskann"),
        (store("pinecone", api_key="s3cret", metric="euclidean"), "expected cosine or dotproduct"),
        (store("pinecone", api_key="s3cret", batch_size=5), "batch_size (argument): no such"),
        (store("pinecone", serverless_config={"cloudy": 1}), "serverless_config.cloudy"),
        (store("pinecone", pod_config=5), "pod_config (argument): expected a mapping"),
        (store("weaviate", cluster_url="http://w", additional_headers={"X": "s3cret"}), "headers"),
        (store(url="http://q") | {"index": {"provider": "pgvector"}}, "contradicts index"),
        (store(pth="/q"), "config.pth (argument): no such setting. Did you mean 'path'?"),
        (store("chroma", on_disk=True), "vector_store.config.on_disk (argument): no such setting"),
        (store(on_disk="yes"), "vector_store.config.on_disk (argument): expected true or false"),
        (store(embedding_model_dims="256"), "expected a whole number"),
        (store(collection_name=5), "expected text"),
        (store(path=5), "path (argument): expected text, got 5"),
        ({"vector_store": "qdrant"}, "vector_store (argument): expected a mapping"),
        ({"vector_store": {"provider": 5}}, "there is no such index here"),
        ({"vector_store": {"provider": ["a"]}}, "there is no such index here"),
        ({"vector_store": {"config": 5}}, "vector_store.config (argument): expected a mapping"),
        ({"vector_store": {"path": "/q"}}, "vector_store.path (argument): no such setting"),
        ({"version": "v1.0"}, "version (argument): only v1.1"),
        ({"version": 1.1}, "version (argument): only v1.1"),
        ({"graph_store": {"config": {"url": "bolt://x"}}}, "graph_store (argument): graph stores"),
        ({"graph_store": "neo4j"}, "graph_store (argument): graph stores"),
        ({"custom_update_memory_prompt": "x"}, "say what matters in custom_instructions"),
        ({"history_db_path": 5}, "history_db_path (argument): expected the path of a file"),
        (store(path="/q") | {"path": "/p"}, "_store.config.path (argument): contradicts path"),
        (store(collection_name="c") | {"project": "p"}, "contradicts project"),
    ],
)  # fmt: skip
def test_what_is_refused_is_explained(source: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(source)
    assert expected in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "given", "wanted"),
    [
        (
            "qdrant",
            {"host": "q", "port": 6333, "api_key": "k", "https": True, "on_disk": False},
            {"host": "q", "port": 6333, "api_key": "k", "https": True},
        ),
        (
            "qdrant",
            {"url": "http://q", "on_disk": True},
            {"url": "http://q", "vectors_on_disk": True},
        ),
        (
            "pgvector",
            {"user": "u", "password": "p@ss/w:", "host": "h", "port": 5432, "hnsw": True},
            {"url": "postgresql://u:p%40ss%2Fw%3A@h:5432/postgres"},
        ),
        (
            "pgvector",
            {
                "user": "u", "password": "p", "host": "h", "dbname": "d b", "sslmode": "require",
                "hnsw": False, "maxconn": 7,
            },
            {"url": "postgresql://u:p@h/d%20b?sslmode=require", "mode": "exact", "pool_max": 7},
        ),
        (
            "pgvector",
            {"connection_string": "postgresql://u@h/d", "user": "other"},
            {"url": "postgresql://u@h/d"},
        ),
        (
            "pinecone",
            {"api_key": "k", "serverless_config": {"cloud": "gcp", "region": "r"}},
            {"api_key": "k", "cloud": "gcp", "region": "r"},
        ),
        (
            "pinecone",
            {"api_key": "k", "environment": "e", "pod_config": {"pod_type": "p2.x1"}},
            {"api_key": "k", "deployment": "pod", "environment": "e", "pod_type": "p2.x1"},
        ),
        (
            "weaviate",
            {"cluster_url": "http://w", "auth_client_secret": "k"},
            {"url": "http://w", "api_key": "k"},
        ),
    ],
)  # fmt: skip
def test_external_stores_become_the_index(
    provider: str, given: dict[str, Any], wanted: dict[str, Any]
) -> None:
    config = load(store(provider, collection_name="shop", **given)).config
    assert config.index == Part(provider, wanted)
    assert (config.project, config.path) == ("shop", "/nowhere")
    settings, part = registry.index_settings(config.index)
    assert settings.collection == "holdfast", "Mem0's own collection is left alone"
    directory: Any = None  # for sharded indexes only
    made = registry.make_vectors(part, settings.collection, directory, lambda _part, engine: engine)
    assert made.name


@pytest.mark.parametrize(
    ("embedder", "dimensions", "fits"),
    [
        (None, 256, True),
        (None, 1536, False),
        ({"provider": "wordllama", "config": {"dimensions": 256}}, 256, True),
        ({"provider": "openai"}, 1536, True),
        ({"provider": "openai", "config": {"embedding_dims": 512}}, 512, True),
        ({"provider": "openai", "config": {"embedding_dims": 512}}, 1536, False),
    ],
)
def test_dimensions_must_be_the_embedders(embedder: Any, dimensions: int, fits: bool) -> None:
    source = store(embedding_model_dims=dimensions) | ({"embedder": embedder} if embedder else {})
    if fits:
        assert load(source).config.path == "/nowhere"
        return
    with pytest.raises(
        ConfigError, match=r"embedding_model_dims \(argument\): 1536, but the embed"
    ):
        load(source)


def test_dimensions_are_compared_with_the_embedder_in_force() -> None:
    source = store(embedding_model_dims=1536)
    assert load(source, HOLDFAST_EMBEDDER_PROVIDER="openai").config.embedder == Part("openai")


def test_the_old_name_of_instructions_still_works() -> None:
    with pytest.warns(DeprecationWarning, match="custom_instructions since Mem0 2.0") as caught:
        config = load({"custom_fact_extraction_prompt": "Only food."}).config
    assert config.custom_instructions == "Only food."
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_old_name_must_not_contradict_the_new_one() -> None:
    with pytest.raises(ConfigError, match="contradicts custom_instructions"):
        load({"custom_fact_extraction_prompt": "a", "custom_instructions": "b"})


TEMPORARY = """
import os, warnings
from holdfast.config import load_config
warnings.simplefilter("ignore")
source = {"vector_store": {"provider": "qdrant", "config": {"on_disk": False}}}
folder = load_config(source).config.path
other = load_config(source).config.path
assert os.path.isdir(folder) and folder != other, (folder, other)
assert os.stat(folder).st_mode & 0o777 == 0o700
open(os.path.join(folder, "holdfast.db"), "w").close()
if os.fork() == 0:
    raise SystemExit
os.wait()
assert os.path.isdir(folder), "a child that ends must not take the store along"
print(folder)
"""


def test_not_on_disk_is_a_temporary_store_gone_at_exit(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TEMPORARY],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_store_says_so_and_yields_to_a_path() -> None:
    with pytest.warns(UserWarning, match="gone when this process ends"):
        resolved = load(store(on_disk=False))
    assert resolved.origins["path"] == "argument"
    overruled = load_config(store(on_disk=False), environ={}, overrides={"path": "/p"})
    assert overruled.config.path == "/p"


def test_not_on_disk_is_kept_in_a_folder_that_is_named() -> None:
    """As Mem0 2.x does: `on_disk` is about vectors there."""
    assert load(store(on_disk=False, path="/q")).config.path == "/q"
    assert load(store(on_disk=False) | {"path": "/p"}).config.path == "/p"


class MemoryConfig:
    """Stands for Mem0's pydantic object."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given

    def model_dump(self, *, exclude_unset: bool, warnings: bool) -> dict[str, Any]:
        assert exclude_unset
        assert not warnings
        return self.given


def test_a_mem0_object_is_read_without_mem0s_defaults() -> None:
    filled_in = {"path": "/tmp/qdrant", "collection_name": "shop"}
    config = load(MemoryConfig(store(**filled_in))).config
    assert (config.path, config.project) == ("/nowhere", "shop")
    assert load(MemoryConfig(store(path="/q"))).config.path == "/q"
    assert load(MemoryConfig({})).config == load({}).config
