"""How API keys are written, and how what is shown is compared with what is stored."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import keys
from holdfast.testing.hostile import REFUSED, STORABLE

ID = "0a1b2c3d4e5f"
SECRET = "A-_z" + "x" * 39


def test_what_is_written_is_parsed() -> None:
    for _ in range(50):
        id_ = secrets.token_hex(keys.ID_BYTES)
        secret = secrets.token_urlsafe(keys.SECRET_BYTES)
        found = keys.parsed(keys.written(id_, secret))
        assert found == keys.Parsed(id_, secret)
        assert len(keys.written(id_, secret)) < keys.CREDENTIAL_CHARS_MAX


@pytest.mark.parametrize(
    "key",
    [
        "", "hf", "hf--", f"hf-{ID}", f"hf-{ID}-", f"hf-{ID}-{SECRET[1:]}", f"hf-{ID}-{SECRET}x",
        f"hf-{ID.upper()}-{SECRET}", f"HF-{ID}-{SECRET}", f" hf-{ID}-{SECRET}",
        f"hf-{ID}-{SECRET}\n", f"hf-{ID[1:]}-{SECRET}", f"m0-{ID}-{SECRET}",
        f"hf-{ID}-{SECRET[:-1]}é", f"hf-{ID[:-1]}٣-{SECRET}", "x" * 100_000,
        *STORABLE, *REFUSED,
    ],
    ids=lambda key: ascii(key)[:30],
)  # fmt: skip
def test_what_is_no_key_is_none(key: str) -> None:
    assert keys.parsed(key) is None


@given(st.text(max_size=80))
def test_any_text_is_a_key_or_none(text: str) -> None:
    found = keys.parsed(text)
    assert found is None or keys.written(found.id, found.secret) == text


def test_a_secret_stands_in_no_representation() -> None:
    assert SECRET not in repr(keys.Parsed(ID, SECRET))


def test_stored_is_a_digest_which_the_secret_alone_proves() -> None:
    stored = keys.digest(SECRET)
    assert stored == hashlib.sha256(SECRET.encode()).hexdigest()
    assert keys.proves(SECRET, stored)
    assert not keys.proves(SECRET[:-1] + "y", stored)
    assert not keys.proves(stored, stored), "who reads the store has the secret"
    assert not keys.proves(SECRET, None)
    assert not keys.proves("", "")


def test_secrets_are_compared_whole_whether_or_not_there_is_such_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted, not timed: one digest and one comparison of full length each time."""
    compared: list[tuple[int, int]] = []
    honest = keys.hmac.compare_digest

    def spy(left: Any, right: Any) -> bool:
        compared.append((len(left), len(right)))
        return honest(left, right)

    monkeypatch.setattr(keys.hmac, "compare_digest", spy)
    keys.proves(SECRET, keys.digest(SECRET))
    keys.proves(SECRET, keys.digest("other"))
    keys.proves(SECRET, None)
    assert compared == [(64, 64)] * 3
    compared.clear()
    for given_ in ("", "a", "admin" * 1_000):
        assert not keys.same_text(given_, "the admin key")
    assert keys.same_text("ключ 🔑", "ключ 🔑")
    assert compared == [(32, 32)] * 4
