"""What the harness raises: one class, since its only reader is a person at a terminal.

Apart so that every module can raise it without knowing the others.
"""

from __future__ import annotations


class ClusterFault(Exception):
    """The cluster cannot be built, started or removed; the message says why, and what helps if anything does."""
