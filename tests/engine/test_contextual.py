"""Embedders that see a question as a whole: what they are asked, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from holdfast.backends.local_embedder import LocalEmbedder
from holdfast.core.text import analyze_query
from holdfast.model import Entity
from holdfast.ports import QueryEmbedding, Spent
from holdfast.wrap.bounded import BoundedEmbedder
from support.embedded import HashEmbedder, add, find, opened

TALK = [
    {"role": "user", "name": "Caroline", "content": "I painted a sunset over the lake."},
    {"role": "user", "name": "Jean Luc", "content": "The bicycle needs a new chain."},
]


class Listening(HashEmbedder):
    """Keeps what it is asked."""

    def __init__(self, *, static: bool = False) -> None:
        super().__init__()
        self.static = static
        self.questions: list[str] = []
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        self.texts += texts
        return await super().embed(texts, spent)

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        self.questions.append(text)
        return await super().embed_query(text, spent)


async def asked(path: Path, embedder: Listening, question: str) -> None:
    """Search TALK once; the question reaches the embedder once, and is not embedded as a text."""
    async with opened(path / "store.db", embedder=embedder) as parts:
        await add(parts, TALK, "alice")
        embedder.texts.clear()
        await find(parts, question, "alice")
    assert embedder.texts == []
    assert len(embedder.questions) == 1


@pytest.mark.parametrize(
    ("question", "bare"),
    [
        ("What did Caroline paint?", "What did paint?"),
        ("Which is caroline's favourite lake?", "Which is favourite lake?"),
        ("Does Jean Luc ride with Caroline?", "Does ride with ?"),
        ("What did Melanie paint?", "What did Melanie paint?"),
        ("Caroline?", "Caroline?"),
        ("   ", "   "),
    ],
)
async def test_names_of_speakers_are_left_out(tmp_path: Path, question: str, bare: str) -> None:
    embedder = Listening()
    await asked(tmp_path, embedder, question)
    assert embedder.questions == [bare]


async def test_static_embedders_are_asked_the_whole(tmp_path: Path) -> None:
    embedder = Listening(static=True)
    await asked(tmp_path, embedder, "What did Caroline paint?")
    assert embedder.questions == ["What did Caroline paint?"]


async def test_names_are_those_of_the_entities_asked_about(tmp_path: Path) -> None:
    def terms(name: str) -> set[int]:
        [term] = analyze_query(name).terms
        return {value for value, _ in term.alternatives}

    alice, bob = Entity("user", "alice"), Entity("user", "bob")
    async with opened(tmp_path / "store.db", embedder=Listening()) as parts:
        await add(parts, TALK[:1], "alice")
        await add(parts, TALK[1:], "bob")
        hers = await parts.index.names(parts.project, [alice])
        assert any(term in hers for term in terms("Caroline"))
        assert not any(term in hers for term in terms("Luc"))
        both = await parts.index.names(parts.project, [alice, bob])
        assert all(any(term in both for term in terms(name)) for name in ("Caroline", "Luc"))
        nobody = await parts.index.names(parts.project, [Entity("user", "carol")])
        assert not any(term in nobody for term in terms("Caroline"))


def test_the_kind_of_embedder_is_passed_on() -> None:
    assert BoundedEmbedder(Listening(static=True)).static
    assert not BoundedEmbedder(Listening()).static
    assert LocalEmbedder().static
