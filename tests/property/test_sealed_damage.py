"""Damage of any kind to what is sealed, to wrapped keys and key files: refused, never garbage."""

from __future__ import annotations

import asyncio
import base64
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.admin import AsyncAdmin
from holdfast.backends.keyrings.local import LocalKeyRing, from_environment
from holdfast.backends.sql import resealing
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.sealing import KeyNeeded, subject_of
from holdfast.core.seal import Place, seal, unseal
from holdfast.errors import ConfigError, CorruptError, HoldfastError, KeyRingError
from support.sealed import written
from tests.engine.test_sealed import config

KEY = bytes(range(32))
ENCODED = base64.urlsafe_b64encode(KEY).decode()
HERE = Place("red", "memories", "m1", "text")
NONCE = b"twelve bytes"


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes with one of them changed, some cut off, inserted, or put behind."""
    place = draw(st.integers(0, len(whole) - 1))
    some = draw(st.binary(min_size=1, max_size=40))
    how = draw(st.sampled_from(("flip", "cut", "drop", "insert", "append")))
    if how == "flip":
        changed = whole[place] ^ draw(st.integers(1, 255))
        return whole[:place] + bytes([changed]) + whole[place + 1 :]
    if how == "append":
        return whole + some
    middle = some if how == "insert" else b""
    return whole[:place] + middle + (b"" if how == "cut" else whole[place + (how == "drop") :])


@given(st.data())
def test_a_damaged_vector_is_refused(data: st.DataObject) -> None:
    sealed = seal(KEY, 1, NONCE, HERE, bytes(range(64)))
    raw = data.draw(damaged(sealed))
    if len(raw) % 4 == 0:  # numbers, for all that can be seen: a store that is whole has none
        return
    if raw[:1] != sealed[:1] and raw[1:] == sealed[1:]:
        return  # the number of the key only: another key opens nothing
    try:
        opened = unseal(KEY, HERE, raw)
    except CorruptError:
        return
    raise AssertionError(opened)


@given(st.data())
def test_a_damaged_text_is_refused(data: st.DataObject) -> None:
    sealed = seal(KEY, 1, NONCE, HERE, "I like tea.")
    text = data.draw(damaged(sealed.encode())).decode("latin-1")
    rest = base64.urlsafe_b64decode(sealed[4:])[1:]
    try:
        opened = unseal(KEY, HERE, text)
    except CorruptError:
        return
    # the first byte names the key, which is another one then
    assert (opened, base64.urlsafe_b64decode(text[4:])[1:]) == ("I like tea.", rest)
    assert len(text) == len(sealed)


@given(st.data())
def test_a_damaged_wrapped_key_is_refused(data: st.DataObject) -> None:
    ring = LocalKeyRing({"first": KEY})
    wrapped = asyncio.run(ring.wrap(bytes(32), b"ann"))
    broken = data.draw(damaged(wrapped))
    try:
        key = asyncio.run(ring.unwrap("first", broken, b"ann"))
    except (CorruptError, KeyRingError):
        return
    raise AssertionError(key)


@given(st.data())
def test_a_damaged_key_list_is_refused_or_holds_whole_keys(data: st.DataObject) -> None:
    text = data.draw(damaged(written().encode())).decode("latin-1")
    told = ""
    try:
        assert from_environment("KEYS", {"KEYS": text}).primary
    except ConfigError as error:
        told = str(error)
    assert ENCODED[:12] not in told


def test_no_value_opens_in_the_place_of_another() -> None:
    """Across projects, tables, rows, fields and spaces, with all keys at hand."""
    with TemporaryDirectory() as folder:
        asyncio.run(swapped(Path(folder)))


async def swapped(folder: Path) -> None:
    keys = folder / "master.keys"
    keys.write_text(written())
    keys.chmod(0o600)
    async with AsyncAdmin(config(folder, keys)) as admin:
        for project in ("default", "other"):
            memory = admin.memory(project)
            for user in ("ann", "bob"):
                for text in ("tea", "rum"):
                    made = await memory.add(f"I like {text}.", user_id=user, infer=False)
            await memory.update(made["results"][0]["id"], "I like milk.")
        records: Any = admin._assembled().records
        await records.read(None, compare)


def compare(connection: Connection) -> None:
    """Open each value in each place."""
    sealer = connection.sealer
    assert sealer is not None
    cells = []
    for texts in (*resealing.ALL, resealing.VECTORS):
        width, fields = len(texts.key), len(texts.fields)
        for row in resealing._rows(connection, texts, ()):
            project, id_, ids = texts.subject(row[width : len(row) - fields])
            for field, stored in zip(texts.fields, row[len(row) - fields :], strict=True):
                if stored:
                    place = Place(project, texts.table, id_, field)
                    cells.append((subject_of(project, ids), place, stored))
    subjects = sorted({cell[0] for cell in cells})
    missing = [need for one in cells if (need := sealer.need(one[0], one[2]))]
    if missing:
        raise KeyNeeded(missing)
    assert len(cells) > 35
    assert len({cell[1] for cell in cells}) == len(cells)
    for (mine, place, stored), (_, other, _) in itertools.permutations(cells, 2):
        for subject in subjects:
            try:
                opened = sealer.open(subject, other, stored)
            except HoldfastError:
                continue
            raise AssertionError((place, other, opened))
        assert sealer.open(mine, place, stored) is not None
