"""How much and how long: every limit of the adapter in one value, so that tests can make time short.

Seconds and bytes throughout. It must hold numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass

from k8s_execution.runtime import backoff


@dataclass(frozen=True, slots=True)
class Retry:
    """A rhythm of tries: the pause doubles from `base` up to `cap`."""

    base: float
    cap: float

    def pause(self, attempt: int, spread: float) -> float:
        """Seconds to wait after failed try number `attempt` (from 0); `spread` is a random number in [0, 1)."""
        return backoff.delay(attempt, base=self.base, cap=self.cap, spread=spread)


@dataclass(frozen=True, slots=True)
class KubeLimits:
    """Limits of one connection to a cluster; the defaults suit a production cluster."""

    requests_per_second: float = 500.0
    burst: int = 1000
    connect_timeout: float = 5.0
    request_timeout: float = 30.0
    attempts: int = 5
    retry: Retry = Retry(base=0.2, cap=5.0)
    retry_after_cap: float = 30.0
    fresh_namespace_wait: float = 60.0
    missing_namespace_wait: float = 15.0
    fresh_rights_wait: float = 5.0
    fresh_namespace_retry: Retry = Retry(base=0.1, cap=1.0)
    token_lifetime: float = 60.0
    plugin_timeout: float = 60.0
    page_limit: int = 150
    page_bytes: int = 256 * 1024
    watch_min: float = 240.0
    watch_max: float = 300.0
    watch_inactivity: float = 70.0
    watch_retry: Retry = Retry(base=0.2, cap=10.0)
    watch_stable: float = 5.0
    watch_failures_before_relist: int = 3
    max_event_bytes: int = 8 * 1024 * 1024
    down_tolerance: float = 30.0
    sync_timeout: float = 60.0
    log_read_timeout: float = 60.0
    exec_idle_timeout: float = 300.0
    exec_stderr_tail: int = 16 * 1024
    user_agent: str = "k8s-execution"
