"""The contract of `ports.Embedder`, sentence by sentence, for one that works."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from holdfast.model import Usage
from holdfast.ports import Embedder
from holdfast.testing.hostile import STORABLE

SAID = (
    "My sister Rosa lives in Lisbon.",
    "The car needs new tyres before winter.",
    "Ich esse kein Fleisch.",
    "私は東京に住んでいます。",
    "ok",
)
EMPTY = ("", " ", " \t\r\n ")
TOLERANCE = 1e-4


class EmbedderContract:
    """Inherit this and override the fixture `embedder`; run it with pytest-asyncio in auto mode."""

    @pytest.fixture
    def embedder(self) -> Embedder:
        """An embedder that answers."""
        return pytest.fail("override the fixture `embedder` with one that makes yours")

    async def test_there_is_a_normalised_row_for_each_text(self, embedder: Embedder) -> None:
        rows = await embedder.embed(SAID)
        assert rows.shape == (len(SAID), embedder.space.dimensions)
        assert rows.dtype == np.float32
        assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=TOLERANCE)

    async def test_no_texts_give_no_rows(self, embedder: Embedder) -> None:
        assert (await embedder.embed([])).shape == (0, embedder.space.dimensions)

    async def test_texts_without_content_give_zeros(self, embedder: Embedder) -> None:
        rows = await embedder.embed([SAID[0], *EMPTY, SAID[1]])
        assert not rows[1 : 1 + len(EMPTY)].any()
        assert np.allclose(np.linalg.norm(rows[[0, -1]], axis=1), 1.0, atol=TOLERANCE)

    async def test_a_row_depends_on_its_own_text_alone(self, embedder: Embedder) -> None:
        together = await embedder.embed([*SAID, "", *SAID[::-1]])
        for place, text in enumerate([*SAID, "", *SAID[::-1]]):
            [alone] = await embedder.embed([text])
            assert np.allclose(together[place], alone, atol=TOLERANCE), text

    async def test_it_is_the_same_each_time(self, embedder: Embedder) -> None:
        first = await embedder.embed(SAID)
        many = await asyncio.gather(*(embedder.embed(SAID) for _ in range(4)))
        assert all(np.allclose(first, again, atol=TOLERANCE) for again in many)

    async def test_different_texts_have_different_rows(self, embedder: Embedder) -> None:
        rows = await embedder.embed(SAID)
        likeness = rows @ rows.T - np.eye(len(SAID))
        assert likeness.max() < 0.99

    async def test_hostile_texts_give_finite_rows(self, embedder: Embedder) -> None:
        rows = await embedder.embed(STORABLE)
        assert rows.shape == (len(STORABLE), embedder.space.dimensions)
        assert np.isfinite(rows).all()
        norms = np.linalg.norm(rows, axis=1)
        assert (np.isclose(norms, 1.0, atol=TOLERANCE) | (norms == 0.0)).all()
        for text in STORABLE:
            assert np.isfinite((await embedder.embed_query(text)).vector).all()

    async def test_a_query_lies_in_the_same_space(self, embedder: Embedder) -> None:
        rows = await embedder.embed(SAID)
        for place, text in enumerate(SAID):
            query = (await embedder.embed_query(text)).vector
            assert query.shape == (embedder.space.dimensions,)
            assert query.dtype == np.float32
            assert np.isclose(np.linalg.norm(query), 1.0, atol=TOLERANCE)
            assert int(np.argmax(rows @ query)) == place

    async def test_a_query_without_content_gives_zeros(self, embedder: Embedder) -> None:
        for text in EMPTY:
            assert not (await embedder.embed_query(text)).vector.any()

    async def test_pieces_of_a_query_name_its_characters(self, embedder: Embedder) -> None:
        for text in (*SAID, *EMPTY, *STORABLE):
            query = await embedder.embed_query(text)
            if query.pieces is None:
                assert query.spans == ()
                continue
            assert query.pieces.shape == (len(query.spans), embedder.space.dimensions)
            assert np.isfinite(query.pieces).all()
            for start, end in query.spans:
                assert 0 <= start <= end <= len(text), (text[:40], start, end)

    async def test_each_request_to_a_provider_is_told(self, embedder: Embedder) -> None:
        spent: list[Usage] = []
        for texts in ((), EMPTY):
            await embedder.embed(texts, spent.append)
        await embedder.embed_query(EMPTY[0], spent.append)
        assert spent == [], "nothing was asked"
        await embedder.embed(SAID, spent.append)
        for_texts = len(spent)
        await embedder.embed_query(SAID[0], spent.append)
        if embedder.in_process:
            assert spent == [], "what is computed here costs nothing"
            return
        assert 0 < for_texts < len(spent)
        name = f"{embedder.space.provider}:{embedder.space.model}"
        for usage in spent:
            assert usage == Usage(model=name, input_tokens=usage.input_tokens)
            assert usage.input_tokens >= 0

    async def test_close_can_be_repeated(self, embedder: Embedder) -> None:
        await embedder.close()
        await embedder.close()
