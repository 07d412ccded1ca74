"""The local embedder gives wordllama's own vectors, from its files alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.backends import local_embedder
from holdfast.backends.local_embedder import DIMENSIONS, LocalEmbedder
from holdfast.errors import MissingExtraError

TEXTS = [
    "I went to the lake yesterday.",
    "a",
    "猫が好きです",
    "emoji 🙂 and  two  blanks",
    "line\nbreak\ttab",
    "long " * 300,
    "x" * 3_000,
]


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return LocalEmbedder()


def test_vectors_are_wordllamas_own(embedder: LocalEmbedder) -> None:
    code = (
        "import json, os, sys, wordllama\n"
        "folder = os.path.dirname(wordllama.__file__)\n"
        "model = wordllama.WordLlama.load(dim=256, cache_dir=folder, disable_download=True)\n"
        "texts = json.loads(sys.stdin.buffer.read())\n"
        "sys.stdout.buffer.write(model.embed(texts, norm=True).astype('<f4').tobytes())\n"
    )
    # In a process of its own: importing wordllama configures the root logger.
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(TEXTS).encode(),
        capture_output=True,
        check=True,
    )
    reference = np.frombuffer(done.stdout, dtype="<f4").reshape(len(TEXTS), DIMENSIONS)
    np.testing.assert_allclose(embedder.encode(TEXTS), reference, atol=2e-6)


def test_wordllamas_code_is_not_imported() -> None:
    code = (
        "import sys\n"
        "from holdfast.backends.local_embedder import LocalEmbedder\n"
        "LocalEmbedder().encode(['x'])\n"
        "print([name for name in ('wordllama', 'requests') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_rows_are_normalised_and_empty_text_is_zero(embedder: LocalEmbedder) -> None:
    vectors = embedder.encode([*TEXTS, "", " \n ", "\ud800 lone"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS) + 3, DIMENSIONS)
    norms = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(np.delete(norms, [len(TEXTS), len(TEXTS) + 1]), 1.0, atol=1e-5)
    assert not vectors[len(TEXTS) : len(TEXTS) + 2].any()
    assert embedder.encode([]).shape == (0, DIMENSIONS)


def test_a_batch_is_its_texts_one_by_one(embedder: LocalEmbedder) -> None:
    texts = [f"{text} {number}" for number in range(150) for text in TEXTS]
    batch = embedder.encode(texts)
    for number in (0, 1, 511, 512, 513, len(texts) - 1):
        np.testing.assert_allclose(batch[number], embedder.encode([texts[number]])[0], atol=1e-6)


def test_no_token_goes_across_a_blank(embedder: LocalEmbedder) -> None:
    """The reason why the tokens of a text are those of its words."""
    blank = "\u2581"
    words = [token.lstrip(blank) for token in embedder._tokenizer.get_vocab()]
    assert len(words) == 32_000
    assert not [word for word in words if blank in word or " " in word]


@given(st.text(st.sampled_from("aeinstrTHE .,'<>/s\u2581\n\t\u00a0é漢🙂\u0301"), max_size=60))
def test_the_tokens_of_words_are_those_of_the_text(embedder: LocalEmbedder, text: str) -> None:
    found = embedder._by_word(text)
    assert found in (None, embedder._tokenizer.encode(text, add_special_tokens=False).ids)
    if re.fullmatch(r"\w+( \w+)*", text) and len(text) <= 48:
        assert found is not None


def test_long_texts_are_cut_without_changing_them(embedder: LocalEmbedder) -> None:
    whole = "word another " * 2_000
    ids = embedder._tokenizer.encode(whole, add_special_tokens=False).ids
    mean = embedder._table[ids].mean(axis=0)
    assert float(embedder.encode([whole])[0] @ mean) / float(np.linalg.norm(mean)) > 0.9999
    assert np.isfinite(embedder.encode(["y" * 1_048_576])).all()


def test_a_query_is_its_text_with_pieces_and_spans(embedder: LocalEmbedder) -> None:
    text = "When did Ana visit 東京? 🙂 " + "and then " * 600
    query = embedder.encode_query(text)
    np.testing.assert_allclose(query.vector, embedder.encode([text])[0], atol=1e-6)
    assert query.pieces is not None
    assert query.pieces.shape == (len(query.spans), DIMENSIONS)
    assert all(0 <= start <= end <= len(text) for start, end in query.spans)
    covered = "".join(text[start:end] for start, end in query.spans[:3])
    assert covered.replace(" ", "") == "WhendidAna"
    starts = [start for start, _ in query.spans]
    assert starts == sorted(starts)


def test_an_empty_query_has_no_pieces(embedder: LocalEmbedder) -> None:
    query = embedder.encode_query("  ")
    assert query.pieces is None
    assert not query.vector.any()


async def test_the_port(embedder: LocalEmbedder) -> None:
    assert embedder.space.dimensions == DIMENSIONS
    assert embedder.in_process
    assert (await embedder.embed(["x"])).shape == (1, DIMENSIONS)
    assert (await embedder.embed_query("x")).vector.shape == (DIMENSIONS,)
    await embedder.close()


def test_threads_agree(embedder: LocalEmbedder) -> None:
    wanted = embedder.encode(TEXTS)
    wrong: list[int] = []

    def work(number: int) -> None:
        if not all(np.array_equal(LocalEmbedder().encode(TEXTS), wanted) for _ in range(20)):
            wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_missing_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_embedder, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match="wordllama"):
        LocalEmbedder()
