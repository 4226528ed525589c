"""Why a part of a log could not be had; the words that gap records carry."""

from __future__ import annotations

from enum import StrEnum


class GapReason(StrEnum):
    """What happened to the missing lines."""

    ROTATED = "LOG_ROTATED"
    """A later read no longer held the last line seen: the node rotated the log in between."""
    GONE = "LOG_GONE"
    """The pod, the container or its log was no more before it had been read to its end."""
    TRUNCATED = "LOG_TRUNCATED"
    """The execution's logs reached their limit."""
    TIMEOUT = "LOG_TIMEOUT"
    """The log could not be read to its end in the time there was."""
