"""The breaker against a plain reading of its rules, on random calls that end in any order."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.breaker import Breaker, BreakerBounds

BOUNDS = BreakerBounds(
    failures_in_row=3,
    window_s=10.0,
    calls_min=6,
    failure_share=0.5,
    pause_s=2.0,
    pause_max_s=7.0,
    probes=2,
)

Outcome = bool | None
Step = tuple[float, str, int, Outcome]
"""Seconds that pass, what happens ("call", "end", "hear"), which call ends, and how."""

steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.9, 1.0, 1.9, 2.1, 4.0, 11.0]),
        st.sampled_from(["call", "end", "hear"]),
        st.integers(0, 5),
        st.sampled_from([True, False, False, None]),
    ),
    max_size=80,
)


@dataclass
class Reading:
    """What a breaker does, told from the list of everything that happened."""

    epoch: int = 0
    opened_at: float | None = None
    pause_s: float = BOUNDS.pause_s
    probing: int = 0
    passed: int = 0
    ends: list[tuple[float, bool]] = field(default_factory=list)

    def admits(self, now: float) -> bool:
        if self.opened_at is None:
            return True
        return now >= self.opened_at + self.pause_s and self.probing < BOUNDS.probes

    def end(self, epoch: int, now: float, outcome: Outcome) -> None:
        if epoch != self.epoch:
            return
        if self.opened_at is not None:
            self.probing -= 1
            if outcome is False:
                self.open(now, min(2 * self.pause_s, BOUNDS.pause_max_s))
            elif outcome:
                self.passed += 1
                if self.passed == BOUNDS.probes:
                    self.change(None, BOUNDS.pause_s)
        elif outcome is not None:
            self.ends.append((now, outcome))
            if outcome is False and self.too_many(now):
                self.open(now, BOUNDS.pause_s)

    def hear(self, now: float, outcome: bool) -> None:
        if self.opened_at is None:
            self.end(self.epoch, now, outcome)
        elif outcome:
            self.change(None, BOUNDS.pause_s)
        else:
            self.open(now, self.pause_s)

    def too_many(self, now: float) -> bool:
        row = 0
        last = now
        for at, outcome in reversed(self.ends):
            if outcome or last - at > BOUNDS.window_s:
                break
            row, last = row + 1, at
        recent = [outcome for at, outcome in self.ends if int(at) > int(now) - 10]
        share = recent.count(False) / len(recent)
        return row >= BOUNDS.failures_in_row or (
            len(recent) >= BOUNDS.calls_min and share >= BOUNDS.failure_share
        )

    def open(self, now: float, pause_s: float) -> None:
        self.change(now, pause_s)

    def change(self, opened_at: float | None, pause_s: float) -> None:
        self.epoch += 1
        self.opened_at, self.pause_s = opened_at, pause_s
        self.probing = self.passed = 0
        self.ends = []


@given(steps)
def test_it_does_what_its_rules_say(script: list[Step]) -> None:
    breaker, reading = Breaker(BOUNDS), Reading()
    now = 100.0
    running: list[tuple[int, int]] = []
    for seconds, what, which, outcome in script:
        now += seconds
        assert (breaker.wait_s(now) == 0.0) == reading.admits(now)
        assert (breaker.state(now) == "closed") == (reading.opened_at is None)
        if what == "call":
            permit = breaker.admit(now)
            assert (permit is not None) == reading.admits(now)
            if permit is not None:
                running.append((permit, reading.epoch))
                reading.probing += reading.opened_at is not None
        elif what == "hear" and outcome is not None:
            before = reading.opened_at, reading.epoch
            reading.hear(now, outcome)
            changed = before != (reading.opened_at, reading.epoch)
            assert breaker.heard(now, outcome) == changed
        elif what == "end" and running:
            permit, epoch = running.pop(which % len(running))
            before = reading.opened_at, reading.epoch
            reading.end(epoch, now, outcome)
            changed = before != (reading.opened_at, reading.epoch)
            assert breaker.ended(permit, now, outcome) == changed


def failed(breaker: Breaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        permit = breaker.admit(now)
        assert permit is not None
        breaker.ended(permit, now, False)


def test_failures_in_a_row_open_it_and_it_says_how_long() -> None:
    breaker = Breaker(BOUNDS)
    failed(breaker, 1.0, 3)
    assert breaker.state(1.0) == "open"
    assert breaker.admit(2.9) is None
    assert breaker.wait_s(2.0) == 1.0
    assert breaker.state(3.0) == "half_open"


def test_half_open_only_the_probes_pass_and_they_must_all_succeed() -> None:
    breaker = Breaker(BOUNDS)
    failed(breaker, 1.0, 3)
    probes = [breaker.admit(3.0), breaker.admit(3.0)]
    assert breaker.admit(3.0) is None
    for probe in probes:
        assert probe is not None
        assert breaker.state(3.1) == "half_open"
        breaker.ended(probe, 3.1, True)
    assert breaker.state(3.1) == "closed"


def test_a_probe_that_tells_nothing_makes_room_for_another() -> None:
    breaker = Breaker(BreakerBounds(failures_in_row=1, pause_s=1.0))
    failed(breaker, 0.0)
    probe = breaker.admit(1.0)
    assert probe is not None
    assert breaker.admit(1.0) is None
    assert not breaker.ended(probe, 1.0, None)
    assert breaker.admit(1.0) is not None


def test_pauses_double_up_to_a_bound_and_start_anew_after_a_success() -> None:
    breaker = Breaker(BreakerBounds(failures_in_row=1, pause_s=1.0, pause_max_s=4.0))
    now, pauses = 0.0, []
    for _ in range(5):
        failed(breaker, now)
        pauses.append(breaker.wait_s(now))
        now += pauses[-1]
    assert pauses == [1.0, 2.0, 4.0, 4.0, 4.0]
    probe = breaker.admit(now)
    assert probe is not None
    assert breaker.ended(probe, now, True)
    failed(breaker, now)
    assert breaker.wait_s(now) == 1.0


def test_what_was_let_through_before_it_opened_says_nothing_afterwards() -> None:
    breaker = Breaker(BreakerBounds(failures_in_row=1, pause_s=1.0))
    late = breaker.admit(0.0)
    failed(breaker, 0.0)
    assert late is not None
    assert not breaker.ended(late, 1.5, True)
    assert breaker.state(1.5) == "half_open"


def test_a_share_of_the_calls_opens_it_though_others_succeed_between() -> None:
    breaker = Breaker(BreakerBounds(failures_in_row=99, calls_min=10, failure_share=0.5))
    for number in range(10):
        assert breaker.state(1.0) == "closed", number
        permit = breaker.admit(1.0)
        assert permit is not None
        breaker.ended(permit, 1.0, number % 2 == 0)
    assert breaker.state(1.0) == "open"


def test_what_is_older_than_the_window_has_no_share() -> None:
    bounds = BreakerBounds(failures_in_row=99, calls_min=10, failure_share=0.5, window_s=10.0)
    breaker = Breaker(bounds)
    failed(breaker, 100.0, 9)
    failed(breaker, 111.0, 9)
    assert breaker.state(111.0) == "closed"
    failed(breaker, 112.0)
    assert breaker.state(112.0) == "open"


def test_it_stays_open_as_long_as_what_failed_asks_and_doubles_its_own_pause() -> None:
    breaker = Breaker(BreakerBounds(failures_in_row=1, pause_s=1.0, pause_max_s=4.0))
    permit = breaker.admit(0.0)
    assert permit is not None
    assert breaker.ended(permit, 0.0, False, 9.0)
    assert breaker.wait_s(0.0) == 9.0
    probe = breaker.admit(9.0)
    assert probe is not None
    assert breaker.ended(probe, 9.0, False, 0.1)
    assert breaker.wait_s(9.0) == 2.0
