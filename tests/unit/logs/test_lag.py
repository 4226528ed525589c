"""When a follow counts as behind its writer."""

from __future__ import annotations

from k8s_execution.logs.lag import BEHIND, IDLE, UNKNOWN, Lag

OFFSET = -40.0
"""Our clock less the node's, in seconds."""

NOW = 1_700_000_000.0


def arrived(lag: Lag, age: float, *, waited: float = 0.0, size: int = 100, offset: float = OFFSET) -> bool:
    """A line of this age arrives; whether the follow is behind then."""
    lag.arrived(NOW, waited, size, round((NOW - age - offset) * 1e9))
    return lag.behind


def test_a_line_that_was_waited_for_is_not_behind_whatever_the_clocks_say() -> None:
    assert not arrived(Lag(), 0.01, waited=IDLE)


def test_an_old_line_is_behind_once_the_clocks_are_compared() -> None:
    lag = Lag()
    arrived(lag, 0.01, waited=IDLE)
    assert [arrived(lag, age) for age in (0.02, BEHIND / 2, BEHIND + 0.1, 0.1)] == [False, False, True, False]


def test_without_any_wait_much_that_is_not_fresh_counts_as_behind() -> None:
    lag = Lag()
    assert [arrived(lag, 0.0, size=UNKNOWN), arrived(lag, 0.0, size=1)] == [False, True]


def test_without_any_wait_fresh_lines_are_not_behind() -> None:
    lag = Lag()
    assert not arrived(lag, 0.01, size=UNKNOWN + 1, offset=0.1)


def test_a_wait_while_behind_does_not_hide_it_for_longer_than_that() -> None:
    """A node that stood still for five seconds looks as if there had been nothing to read."""
    lag = Lag()
    arrived(lag, 5.0, waited=6.0)
    arrived(lag, 0.0)
    assert arrived(lag, BEHIND + 0.1)
