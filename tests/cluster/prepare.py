"""Fills the cache with all that `up` and the tests take from it, so that a build can run beside other work.

May be killed and run several times at once: each part has its own lock, and whoever needs one waits for it.
"""

from __future__ import annotations

import time

from cluster import builds, host, images, service_image
from cluster.builds import Say


def build(say: Say) -> None:
    """Build all programs and images, those only for tests included. Raises ClusterFault if something cannot be had."""
    started = time.monotonic()
    host.prepare(say)
    programs = builds.build_all(say)
    images.make_all(programs, say)
    service_image.make(programs, say)
    builds.build(builds.KUBE_SCORE, say)
    say(f"everything is built after {(time.monotonic() - started) / 60:.1f} minutes")
