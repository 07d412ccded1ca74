"""Settings of the Qdrant index: what is refused, and what follows from them."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.backends.qdrant.settings import (
    QdrantSettings,
    address,
    settings_of,
    settling_s,
)
from holdfast.config import Part
from holdfast.errors import ConfigError

URL = {"url": "https://qdrant.example:6333"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no place": ({}, "neither url, host nor path"),
    "an empty place": ({"host": ""}, "neither url, host nor path"),
    "two places": ({**URL, "host": "a"}, "url and host"),
    "a folder and a server": ({**URL, "path": "x"}, "url and path"),
    "no scheme": ({"url": "qdrant.example:6333"}, "url is not the address"),
    "another scheme": ({"url": "ftp://qdrant.example"}, "url is not the address"),
    "a password in it": ({"url": "https://a:b@qdrant.example"}, "url is not the address"),
    "a key in it": ({"url": "https://qdrant.example?api-key=b"}, "url is not the address"),
    "a port that is none": ({"url": "https://qdrant.example:port"}, "url is not the address"),
    "a port out of range": ({"host": "a", "port": 70_000}, r"index\.config\.port"),
    "plain and not": ({"url": "http://a", "https": True}, "contradicts"),
    "an unknown setting": ({**URL, "apikey": "x"}, "api_key"),
    "no time at all": ({**URL, "timeout_s": 0}, r"index\.config\.timeout_s"),
    "a number that is a word": ({**URL, "shard_number": "many"}, r"index\.config\.shard_number"),
    "an unknown ordering": ({**URL, "write_ordering": "total"}, "write_ordering"),
    "writes nobody can confirm": (
        {**URL, "replication_factor": 2, "write_consistency_factor": 3},
        "greater than replication_factor",
    ),
    "oversampling of nothing": ({**URL, "oversampling": 2.0}, "need quantisation"),
    "rescoring of nothing": ({**URL, "rescore": False}, "need quantisation"),
    "shards of a folder": ({"path": "x", "shard_number": 2}, r"shard_number.*local mode"),
    "a key of a folder": ({"path": "x", "api_key": "secret"}, r"api_key.*local mode"),
    "exactness of a folder": ({"path": ":memory:", "exact": True}, r"exact.*local mode"),
}


@pytest.mark.parametrize(("config", "told"), REFUSED.values(), ids=list(REFUSED))
def test_what_makes_no_sense_is_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        settings_of(Part("qdrant", config))
    assert caught.value.hint or "xpected" in str(caught.value) or "Invalid" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_numbers_may_come_as_text_from_the_environment() -> None:
    settings = settings_of(Part("qdrant", {"host": "a", "port": "7000", "exact": "true"}))
    assert (settings.port, settings.exact) == (7_000, True)


def test_where_the_server_is() -> None:
    wanted = {
        "http://a:6333": {"host": "a"},
        "http://localhost:6333": {"host": "localhost", "api_key": "k"},
        "https://a:7000": {"host": "a", "port": 7_000, "api_key": "k"},
        "http://b:6333": {"host": "b", "https": False, "api_key": "k"},
        "https://[::2]:6333": {"host": "::2", "https": True},
        "https://c/prefix": {"url": "https://c/prefix", "port": 7_000},
    }
    for url, config in wanted.items():
        assert address(settings_of(Part("qdrant", config))) == url


def test_when_a_write_is_surely_found() -> None:
    """Replicas, those that acknowledge, how many are read: does every reading meet a write?"""
    for replicas, acknowledged, reading, meets in (
        (1, 1, None, True),
        (2, 1, None, False),
        (2, 2, None, True),
        (3, 2, None, False),
        (3, 2, "quorum", True),
        (3, 1, "quorum", False),
        (3, 2, "majority", False),
        (3, 2, "all", False),
        (3, 3, "all", True),
    ):
        settings = QdrantSettings(host="a", read_consistency=reading, settles_s=0.5)
        found = settling_s(settings, replicas, acknowledged)
        assert found == (0.0 if meets else 0.5), (replicas, acknowledged, reading)
