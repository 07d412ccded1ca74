"""Names that tell nothing and do not meet, and values that are taken for what they are only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.packing import Packing

PACKING = Packing(b"store", b"key")

names = st.text(max_size=20)
payloads = st.binary(max_size=200)


@given(names, payloads)
def test_a_value_comes_back_under_its_own_name_only(name: str, payload: bytes) -> None:
    value = PACKING.pack(name, payload)
    assert PACKING.unpack(name, value) == payload
    assert Packing(b"store", b"key").unpack(name, value) == payload, "in every process"
    for other in (Packing(b"store"), Packing(b"storekey"), Packing(b"storek", b"ey"), Packing()):
        assert other.unpack(name, value) is None
    assert PACKING.unpack(f"{name} ", value) is None


@given(names, payloads, st.data())
def test_a_changed_value_is_none(name: str, payload: bytes, data: st.DataObject) -> None:
    value = PACKING.pack(name, payload)
    at = data.draw(st.integers(0, len(value) - 1))
    flipped = bytes([value[at] ^ data.draw(st.integers(1, 255))])
    assert PACKING.unpack(name, value[:at] + flipped + value[at + 1 :]) is None
    assert PACKING.unpack(name, value[:at]) is None
    assert PACKING.unpack(name, value + b"\0") is None


@given(st.binary(max_size=300))
def test_bytes_of_others_are_none(value: bytes) -> None:
    assert PACKING.unpack("a", value) is None
    assert PACKING.unpack("a", None) is None


@given(st.lists(payloads, max_size=4), st.lists(payloads, max_size=4))
def test_parts_do_not_run_into_one_another(one: list[bytes], other: list[bytes]) -> None:
    assert (PACKING.name("a", *one) == PACKING.name("a", *other)) == (one == other)
    assert PACKING.name("a", *one) != PACKING.name("b", *one)
    assert PACKING.name("a", *one) != Packing(b"other").name("a", *one)


def test_a_name_tells_nothing() -> None:
    name = PACKING.name("text", b"what Ann said")
    assert name.startswith("text:")
    assert "Ann" not in name
    assert len(name) == len(PACKING.name("text", b"x" * 10_000))
