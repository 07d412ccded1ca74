"""What was used last within a bound of bytes: against a plain list that does the same slowly."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.lru import ENTRY_BYTES, Lru

BOUND = 2_000

keys = st.sampled_from("abcdefgh")
steps = st.one_of(
    st.tuples(st.just("put"), keys, st.integers(0, 900), st.integers(1, 20)),
    st.tuples(st.just("get"), keys),
    st.tuples(st.just("drop"), keys),
    st.tuples(st.just("wait"), st.integers(1, 5)),
    st.tuples(st.just("clear")),
)


class Slow:
    """Entries in the order of their use: (key, value, bytes, until)."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int, int, float]] = []

    def get(self, key: str, now: float) -> int | None:
        found = [each for each in self.entries if each[0] == key]
        self.entries = [each for each in self.entries if each[0] != key]
        alive = [each for each in found if each[3] > now]
        self.entries += alive
        return alive[0][1] if alive else None

    def put(self, key: str, value: int, size: int, until: float) -> None:
        size += len(key) + ENTRY_BYTES
        self.entries = [each for each in self.entries if each[0] != key]
        if size <= BOUND:
            self.entries.append((key, value, size, until))
        while sum(each[2] for each in self.entries) > BOUND:
            del self.entries[0]


@settings(max_examples=300)
@given(st.lists(steps, max_size=60))
def test_it_does_what_a_list_does(told: list[tuple[object, ...]]) -> None:
    lru, slow, now = Lru[int](BOUND), Slow(), 0.0
    for number, step in enumerate(told):
        match step:
            case ("put", str(key), int(size), int(ttl)):
                lru.put(key, number, size, now + ttl)
                slow.put(key, number, size, now + ttl)
            case ("get", str(key)):
                assert lru.get(key, now) == slow.get(key, now)
            case ("drop", str(key)):
                lru.drop(key)
                slow.entries = [each for each in slow.entries if each[0] != key]
            case ("wait", int(seconds)):
                now += seconds
            case _:
                lru.clear()
                slow.entries.clear()
        assert len(lru) == len(slow.entries)
        assert lru.nbytes == sum(each[2] for each in slow.entries) <= BOUND
