"""The host's time: forward steps are followed, backward steps are not, and it never stands still."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.runtime.hostclock import HostClock


@dataclass
class Hands:
    """A wall clock and the time since boot, in ns, both set by the test."""

    wall: int = 1_700_000_000_000_000_000
    boot: int = 5_000_000_000

    def pass_time(self, nanoseconds: int) -> None:
        """Time goes by on both."""
        self.wall += nanoseconds
        self.boot += nanoseconds


def clock_of(hands: Hands) -> HostClock:
    return HostClock(lambda: hands.wall, lambda: hands.boot)


def test_it_tells_the_wall_clock_in_microseconds() -> None:
    assert clock_of(Hands()).now() == 1_700_000_000_000_000


def test_a_wall_clock_set_back_does_not_set_it_back_and_it_goes_on() -> None:
    hands = Hands()
    clock = clock_of(hands)
    before = clock.now()
    hands.wall -= 3_600_000_000_000
    assert clock.now() == before
    hands.pass_time(2_000_000)
    assert clock.now() == before + 2_000


def test_a_wall_clock_set_forward_is_followed() -> None:
    hands = Hands()
    clock = clock_of(hands)
    before = clock.now()
    hands.wall += 1_000_000_000
    assert clock.now() == before + 1_000_000


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(-(10**15), 10**15)), max_size=30))
def test_whatever_the_wall_clock_does_it_goes_on_at_least_as_fast_as_time(steps: list[tuple[int, int]]) -> None:
    hands = Hands()
    clock = clock_of(hands)
    for passed, step in steps:
        before = clock.now()
        hands.pass_time(passed)
        hands.wall += step
        assert clock.now() >= before + passed // 1000
