"""Kubernetes quantities (`250m`, `1Gi`, `2e3`) as exact numbers, and back in canonical form. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(1000),
    "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
}  # fmt: skip
_FORM = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?$")
_MESSAGE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def parse(text: object) -> Decimal:
    """The value of a quantity. Raises ValueError with Kubernetes' words for one that cannot be read."""
    found = _FORM.match(str(text).strip())
    if not found:
        raise ValueError(_MESSAGE)
    number, suffix = Decimal(found[1]), found[2] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    if suffix in _DECIMAL:
        return number * _DECIMAL[suffix]
    return number * Decimal(10) ** int(suffix[1:])


def render(value: Decimal, *, binary: bool = False) -> str:
    """The canonical form: no fraction, the largest fitting suffix (binary for memory, decimal else)."""
    if value != value.to_integral_value():
        return f"{int((value * 1000).to_integral_value(rounding='ROUND_CEILING'))}m"
    whole = int(value)
    if whole == 0:
        return "0"
    steps = list(_BINARY.items()) if binary else [("k", 10**3), ("M", 10**6), ("G", 10**9), ("T", 10**12)]
    for suffix, size in reversed(steps):
        if whole % size == 0:
            return f"{whole // size}{suffix}"
    return str(whole)


def is_binary(resource_name: str) -> bool:
    """True for resources counted in bytes."""
    return resource_name.endswith(("memory", "storage")) or "hugepages" in resource_name
