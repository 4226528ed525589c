"""Durations and Kubernetes quantities."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.domain.quantity import format_bytes, format_cpu, format_duration, parse_duration, parse_quantity


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0s", 0), ("90s", 90_000), ("30m", 1_800_000), ("1h30m", 5_400_000), ("250ms", 250), ("1h1m1s1ms", 3_661_001)],
)
def test_durations_are_read(text: str, milliseconds: int) -> None:
    """As Go writes them."""
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1.5h", "1s ", " 1s", "1m1h", "1d", "1S", "１s", "1s\n"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With the rule; digits are ASCII, units in order."""
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_durations_come_back(milliseconds: int) -> None:
    """What is written is read."""
    assert parse_duration(format_duration(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0, "0s"), (90_000, "1m30s"), (1, "1ms"), (3_600_000, "1h"), (86_400_000, "24h")]
)
def test_durations_are_written_short(milliseconds: int, text: str) -> None:
    """Only the units that count."""
    assert format_duration(milliseconds) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", "1"), ("250m", "0.25"), ("0.5", "0.5"), (".5", "0.5"), ("512Mi", "536870912"), ("1Gi", "1073741824"),
        ("1k", "1000"), ("1M", "1000000"), ("2e3", "2000"), ("2E3", "2000"), ("1e-3", "0.001"), ("1E", "1e18"),
        ("100n", "1e-7"), ("3u", "0.000003"), ("0", "0"), ("1Ei", str(2**60)),
    ],
)  # fmt: skip
def test_quantities_are_read(text: str, number: str) -> None:
    """Every suffix of k8s.io/apimachinery resource.Quantity; `E` alone is exa, with digits an exponent."""
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "+1", "1 Gi", "1K", "1ki", "1mi", "1.", "1..2", "1e", "1\n", "１", "1e999", "9" * 21]
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    """Negative amounts mean nothing here; suffixes are case-sensitive."""
    with pytest.raises(ValueError, match="must be a Kubernetes quantity"):
        parse_quantity(text)


@given(st.integers(0, 10**7))
def test_cpu_comes_back(millicores: int) -> None:
    """To the millicore."""
    assert parse_quantity(format_cpu(Decimal(millicores) / 1000)) * 1000 == millicores


@given(st.integers(0, 2**50))
def test_bytes_come_back(size: int) -> None:
    """To the byte."""
    assert parse_quantity(format_bytes(Decimal(size))) == size


@given(st.decimals(0, 10**6, allow_nan=False, allow_infinity=False))
def test_a_sum_is_never_rounded_down(amount: Decimal) -> None:
    """A quota made from it has room for its parts."""
    assert parse_quantity(format_cpu(amount)) >= amount
    assert parse_quantity(format_bytes(amount)) >= amount


@pytest.mark.parametrize(
    ("size", "text"), [(2**30, "1024Mi"), (512 * 2**20, "512Mi"), (2048, "2Ki"), (1000, "1000"), (0, "0")]
)
def test_bytes_are_written_in_whole_units(size: int, text: str) -> None:
    """The largest of Mi and Ki that divides."""
    assert format_bytes(Decimal(size)) == text


@pytest.mark.parametrize(
    ("cores", "text"), [("1", "1"), ("0.25", "250m"), ("1.5", "1500m"), ("0.0001", "1m"), ("0", "0")]
)
def test_cpu_is_written_in_cores_or_millicores(cores: str, text: str) -> None:
    """Rounded up to a millicore."""
    assert format_cpu(Decimal(cores)) == text
