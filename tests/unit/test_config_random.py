"""Whatever a configuration holds: it loads, or it is a ConfigError."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import Config, Resolved, load_config
from holdfast.config import load as loading
from holdfast.config.checks import variables
from holdfast.config.mem0 import MEM0_KEYS
from holdfast.errors import ConfigError

FULL: dict[str, Any] = {
    "path": "/p",
    "project": "shop",
    "embedder": {"provider": "wordllama", "config": {"dimensions": 256}},
    "llm": {"provider": "openai", "config": {"model": "m", "api_key": "k", "stop": ["a"]}},
    "reranker": {"provider": "cohere", "config": None},
    "custom_instructions": "Only food.",
    "timezone": "Asia/Tokyo",
    "threshold": 0.2,
    "workers": 2,
    "content_key": "secret",
}
MEM0: dict[str, Any] = {
    "vector_store": {
        "provider": "qdrant",
        "config": {"path": "/q", "collection_name": "c", "embedding_model_dims": 256},
    },
    "llm": {"provider": "openai", "config": {"model": "m"}},
    "embedder": {"provider": "openai", "config": {"embedding_dims": 256}},
    "history_db_path": "/h/history.db",
    "version": "v1.1",
    "graph_store": {"provider": "neo4j", "config": None},
    "custom_fact_extraction_prompt": "Only food.",
    "custom_update_memory_prompt": None,
}

NAMES = st.sampled_from(
    [*Config.__struct_fields__, *MEM0_KEYS, "provider", "config", "path", "on_disk", "host",
     "dimensions", "embedding_model_dims", "collection_name", "thresold", ""]
)  # fmt: skip
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.sampled_from(
        ["qdrant", "faiss", "wordllama", "openai", "v1.1", "UTC", "America", "~x/y", "${A}",
         "${A:-b}", "${", "\x00", "\ud800", "x" * 5000, 10**400, b"bytes", object(), 256]
    ),
)  # fmt: skip
KEYS = st.one_of(NAMES, st.text(max_size=4), st.integers(), st.none(), st.tuples(st.integers()))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def containers(value: Any) -> Iterator[dict[Any, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from containers(item)


@st.composite
def mutated(draw: st.DrawFn) -> dict[Any, Any]:
    """A good configuration with up to three places changed, added or taken away."""
    config = copy.deepcopy(draw(st.sampled_from([FULL, MEM0, {}])))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(containers(config))))
        keys = st.sampled_from(sorted(place, key=repr)) if place else KEYS
        key = draw(keys | KEYS)
        if draw(st.booleans()):
            place.pop(key, None)
        else:
            place[key] = draw(VALUES)
    return config


@pytest.fixture(autouse=True, scope="module")
def _temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Thousands of temporary stores need no folders here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "_temporary_folder", lambda: str(tmp_path_factory.getbasetemp()))
        yield


def attempt(source: Any, **more: Any) -> tuple[Resolved | None, str]:
    try:
        return load_config(source, **more), ""
    except ConfigError as error:
        return None, str(error)


def loaded(source: Any, **more: Any) -> Resolved | None:
    """What is loaded, or None for a ConfigError of one line. Any other error is the test's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resolved, fault = attempt(source, **more)
    assert "\n" not in fault
    assert len(fault) < 1_000
    if resolved is None:
        return None
    config = resolved.config
    assert set(resolved.origins) == set(resolved.settings())
    repr(resolved)
    checked = msgspec.convert(msgspec.structs.asdict(config), Config)
    assert checked == config
    assert os.path.isabs(config.path)
    assert load_config(config, environ={}).config == config
    return resolved


@given(source=mutated())
def test_mappings(source: Any) -> None:
    before = repr(source)
    loaded(source, environ={"HOLDFAST_HOME": "/nowhere"})
    assert repr(source) == before


@given(source=VALUES.filter(lambda value: not isinstance(value, str | None)))
def test_anything_at_all(source: Any) -> None:
    loaded(source, environ={"HOLDFAST_HOME": "/nowhere"})


@given(
    environ=st.dictionaries(
        st.sampled_from(["HOLDFAST_HOME", *variables()]),
        st.text(max_size=6) | st.sampled_from(["1", "0.5", "UTC", "nan", "1e999", "9" * 5000]),
    )
)  # fmt: skip
def test_environments(environ: dict[str, str]) -> None:
    loaded(None, environ={"HOLDFAST_HOME": "/nowhere", **environ})


GOOD_YAML = msgspec.yaml.encode(FULL)
GOOD_TOML = b"""
path = "data"
threshold = 0.5
timezone = "${ZONE:-UTC}"
[llm]
provider = "openai"
config = { model = "m", stop = ["a", "b"] }
"""


@given(data=st.data(), suffix=st.sampled_from([".yaml", ".toml"]))
def test_files(data: st.DataObject, suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = bytearray(GOOD_YAML if suffix == ".yaml" else GOOD_TOML)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        piece = data.draw(
            st.binary(max_size=3)
            | st.sampled_from([b"!!int ", b"!!timestamp ", b"&a ", b"*a", b"2024-13-45", b"1_0:99",
                               b"<<: ", b"? ", b"- ", b"= ", b"[[", b"${", b"!!binary ", b"\n"])
        )  # fmt: skip
        text[at : at + data.draw(st.integers(0, 4))] = piece
    file = Path(tmp_path_factory.getbasetemp()) / f"mutated{suffix}"
    file.write_bytes(text)
    loaded(file, environ={"HOLDFAST_HOME": "/nowhere"})


def test_the_good_ones_load() -> None:
    for source in (FULL, MEM0):
        assert loaded(source, environ={}) is not None


def test_another_error_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise KeyError("planted")

    monkeypatch.setattr(loading, "checked", broken)
    with pytest.raises(KeyError, match="planted"):
        loaded(FULL, environ={})
