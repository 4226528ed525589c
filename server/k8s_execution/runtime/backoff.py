"""Delays between tries, doubling up to a bound, spread so that many do not try in step; pure."""

from __future__ import annotations


def delay(attempt: int, *, base: float, cap: float, spread: float) -> float:
    """Seconds before try `attempt` (0 for the first repetition); `spread` in [0, 1) takes off up to half of it."""
    full = min(cap, base * 2.0 ** min(attempt, 32))
    return full * (1.0 - spread / 2.0)
