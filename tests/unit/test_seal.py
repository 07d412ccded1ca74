"""Sealed texts open in their own place with their own key, and are refused otherwise."""

from __future__ import annotations

import base64
import os
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.backends.keyrings.local import LocalKeyRing, from_environment, from_file
from holdfast.core.seal import PREFIX, Place, is_sealed, seal, unfernet, unseal, version_of
from holdfast.errors import ConfigError, CorruptError, KeyRingError

KEY, OTHER = bytes(range(32)), bytes(32)
HERE = Place("red", "memories", "m1", "text")
NONCE = b"twelve bytes"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(TEXTS)
def test_a_text_comes_back_and_does_not_show(text: str) -> None:
    sealed = seal(KEY, 7, NONCE, HERE, text)
    assert is_sealed(sealed)
    assert version_of(sealed) == 7
    assert unseal(KEY, HERE, sealed) == text
    if len(text) > 5:
        raw = base64.urlsafe_b64decode(sealed.removeprefix(PREFIX))
        assert text.encode() not in raw


@given(st.data())
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(seal(KEY, 1, NONCE, HERE, "tea").removeprefix(PREFIX)))
    # the first byte names the key, which is another one then
    place = data.draw(st.integers(8, len(raw) * 8 - 1))
    raw[place // 8] ^= 1 << place % 8
    with pytest.raises(CorruptError):
        unseal(KEY, HERE, PREFIX + base64.urlsafe_b64encode(bytes(raw)).decode())


@pytest.mark.parametrize("text", ["t", "te", "tea"])
def test_any_other_digit_is_refused(text: str) -> None:
    """Also in the last place, some bits of which mean nothing."""
    sealed = seal(KEY, 1, NONCE, HERE, text)
    digits = string.ascii_letters + string.digits + "-_="
    for place in range(len(PREFIX) + 2, len(sealed)):  # the first two name the key
        for digit in digits.replace(sealed[place], ""):
            with pytest.raises(CorruptError):
                unseal(KEY, HERE, sealed[:place] + digit + sealed[place + 1 :])


@given(st.integers(0, 60))
def test_what_is_cut_off_is_refused(length: int) -> None:
    sealed = seal(KEY, 1, NONCE, HERE, "tea")
    with pytest.raises(CorruptError):
        unseal(KEY, HERE, sealed[: min(length, len(sealed) - 1)])


@pytest.mark.parametrize("part", Place._fields)
def test_what_was_moved_is_refused(part: str) -> None:
    sealed = seal(KEY, 1, NONCE, HERE, "tea")
    with pytest.raises(CorruptError):
        unseal(KEY, HERE._replace(**{part: "elsewhere"}), sealed)


def test_parts_of_a_place_do_not_run_into_each_other() -> None:
    assert Place("a", "bc", "d", "e").bound() != Place("ab", "c", "d", "e").bound()


def test_another_key_opens_nothing() -> None:
    with pytest.raises(CorruptError):
        unseal(OTHER, HERE, seal(KEY, 1, NONCE, HERE, "tea"))


@pytest.mark.parametrize("length", [9, 10, 11])
def test_any_other_sign_is_refused(length: int) -> None:
    """Not even bits that mean nothing may differ."""
    sealed = seal(KEY, 1, NONCE, HERE, "x" * length)
    signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/. "
    for place in range(len(PREFIX) + 2, len(sealed)):  # the first two name the key
        for sign in set(signs) - {sealed[place]}:
            with pytest.raises(CorruptError):
                unseal(KEY, HERE, sealed[:place] + sign + sealed[place + 1 :])


@pytest.mark.parametrize("text", ["", "hf1:", "hf1:!!!!", "hf1:" + "A" * 80, "plain", "hf1:é"])
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(CorruptError):
        unseal(KEY, HERE, text)


def test_texts_of_fernet_are_read() -> None:
    from cryptography.fernet import Fernet

    old, new = Fernet.generate_key(), Fernet.generate_key()
    token = Fernet(old).encrypt(b"tea").decode()
    assert unfernet((new, old), token) == "tea"
    with pytest.raises(CorruptError):
        unfernet((new,), token)


def encoded(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode()


async def test_keys_are_wrapped_by_the_first_and_unwrapped_by_any() -> None:
    old = LocalKeyRing({"old": OTHER})
    wrapped = await old.wrap(KEY, b"ann")
    both = LocalKeyRing({"new": KEY, "old": OTHER})
    assert both.primary == "new"
    assert await both.unwrap("old", wrapped, b"ann") == KEY
    with pytest.raises(CorruptError):
        await both.unwrap("old", wrapped, b"bob")
    with pytest.raises(CorruptError):
        await both.unwrap("new", wrapped, b"ann")
    with pytest.raises(KeyRingError, match="'gone'"):
        await both.unwrap("gone", wrapped, b"ann")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not set"),
        ("nocolon", "entry 1"),
        ("a b:" + encoded(KEY), "entry 1"),
        ("a:" + encoded(KEY) + ",a:" + encoded(OTHER), "twice"),
        ("a:" + encoded(KEY[:16]), "32 bytes"),
        ("a:***", "32 bytes"),
    ],
)
def test_bad_keys_are_named_without_being_told(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        from_environment("KEYS", {"KEYS": text})
    assert encoded(KEY)[:10] not in str(caught.value)


def test_a_key_file_must_be_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# newest first\nb:{encoded(KEY)}\na:{encoded(OTHER)}  # of last year\n")
    file.chmod(0o600)
    assert from_file(str(file)).primary == "b"
    for mode in (0o640, 0o604, 0o620):
        file.chmod(mode)
        with pytest.raises(ConfigError, match="others"):
            from_file(str(file))
    with pytest.raises(ConfigError, match="cannot be read"):
        from_file(str(tmp_path / "none"))


def test_what_is_not_text_is_no_key_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(os.urandom(64) + b"\xff")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="no text"):
        from_file(str(file))


def test_wrong_use_is_refused() -> None:
    wrong: list[Any] = [(0, NONCE), (256, NONCE), (1, b"short")]
    for version, nonce in wrong:
        with pytest.raises(ValueError, match="version"):
            seal(KEY, version, nonce, HERE, "tea")
