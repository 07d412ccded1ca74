"""Time and ids: repeatable in tests, ordered and never the same twice in production."""

from __future__ import annotations

import os
import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.clock import Ids, ManualClock, SystemClock, iso, process_tag, seeded_ids

NOW = 1_700_000_000.123


def test_ids_are_version_7_and_begin_with_the_time() -> None:
    id_ = uuid.UUID(Ids(ManualClock(NOW)).new())
    assert id_.version == 7
    assert id_.variant == uuid.RFC_4122
    assert id_.int >> 80 == int(NOW * 1000)


@given(moves=st.lists(st.floats(-10, 10), min_size=1, max_size=50))
def test_ids_rise_whatever_the_clock_does(moves: list[float]) -> None:
    clock = ManualClock(NOW)
    ids = Ids(clock)
    made = []
    for seconds in moves:
        clock.advance(seconds)
        made += [ids.new() for _ in range(3)]
    assert made == sorted(set(made))
    assert all(str(uuid.UUID(id_)) == id_ for id_ in made)


def test_more_than_a_millisecond_can_count_still_rise() -> None:
    ids = Ids(ManualClock(NOW))
    made = [ids.new() for _ in range(10_000)]
    assert made == sorted(set(made))


def test_threads_never_draw_the_same_id() -> None:
    ids = Ids(SystemClock())
    made: list[str] = []

    def draw() -> None:
        own = [ids.new() for _ in range(2_000)]
        assert own == sorted(own)
        made.extend(own)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8_000


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_draws_other_ids() -> None:
    ids = Ids(ManualClock(NOW))
    ids.new()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, ids.new().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading) as said:
        theirs = said.read()
    ours = ids.new()
    assert len(theirs) == len(ours) == 36
    assert theirs != ours


def test_seeded_ids_repeat() -> None:
    one, two, other = (seeded_ids(ManualClock(NOW), seed) for seed in (1, 1, 2))
    first = [one.new() for _ in range(5)]
    assert first == [two.new() for _ in range(5)]
    assert first != [other.new() for _ in range(5)]


def test_a_manual_clock_stands_still() -> None:
    clock = ManualClock(NOW)
    assert clock.now() == clock.now() == NOW
    clock.advance(1.5)
    assert clock.now() == NOW + 1.5


def test_iso_is_utc_with_its_offset() -> None:
    assert iso(0.0) == "1970-01-01T00:00:00+00:00"
    assert iso(1_700_000_000.123456) == "2023-11-14T22:13:20.123456+00:00"
    assert iso(None) is None


def test_process_tags_differ() -> None:
    assert process_tag() != process_tag()
    assert process_tag().startswith(f"{os.getpid()}-")
