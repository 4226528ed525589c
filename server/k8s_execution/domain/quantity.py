"""Durations and Kubernetes quantities, read and written.

Durations are Go-like (`600s`, `30m`, `1h30m`); quantities follow k8s.io/apimachinery/pkg/api/resource: a decimal
number with a suffix of n u m (none) k M G T P E or Ki Mi Gi Ti Pi Ei, or an exponent.
"""

from __future__ import annotations

import re
from decimal import Decimal

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
_QUANTITY = re.compile(r"(\d{1,20}(?:\.\d{1,20})?|\.\d{1,20})(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d{1,2})?")
"""Kubernetes caps a quantity at 2**63 - 1, so longer numbers mean nothing; unbounded ones would cost unbounded time."""
_SUFFIX: dict[str, Decimal] = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


def parse_duration(text: str) -> int:
    """`1h30m` to whole milliseconds; ValueError with the rule if it is not a duration."""
    found = _DURATION.fullmatch(text) if text.isascii() else None
    if not text or found is None:
        raise ValueError("must be a duration such as 90s, 30m or 1h30m")
    hours, minutes, seconds, millis = (int(g or 0) for g in found.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + millis


def format_duration(milliseconds: int) -> str:
    """Whole milliseconds to the shortest form that `parse_duration` reads back."""
    seconds, millis = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"), (millis, "ms"))
    return "".join(f"{n}{unit}" for n, unit in parts if n) or "0s"


def parse_quantity(text: str) -> Decimal:
    """A Kubernetes quantity to its number (cores, bytes); ValueError with the rule if it is none."""
    found = _QUANTITY.fullmatch(text) if text.isascii() else None
    if found is None:
        raise ValueError("must be a Kubernetes quantity such as 250m, 1 or 512Mi")
    number, suffix = found.group(1), found.group(2) or ""
    if suffix in _SUFFIX:
        return Decimal(number) * _SUFFIX[suffix]
    return Decimal(number + suffix)


def format_cpu(cores: Decimal) -> str:
    """Cores as a quantity, in millicores where they are not whole; rounded up."""
    millis = int((cores * 1000).to_integral_value(rounding="ROUND_CEILING"))
    return str(millis // 1000) if millis % 1000 == 0 else f"{millis}m"


def format_bytes(size: Decimal) -> str:
    """Bytes as a quantity, in Mi or Ki where whole; rounded up to a byte."""
    number = int(size.to_integral_value(rounding="ROUND_CEILING"))
    for suffix, unit in (("Mi", 2**20), ("Ki", 2**10)):
        if number and number % unit == 0:
            return f"{number // unit}{suffix}"
    return str(number)
