"""What refusals mean, as a table."""

from __future__ import annotations

import json

import pytest

from k8s_execution.kube.answers import PassingFault, StatusError, fault, json_object
from unit.kube.fake_api import status_body


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 413, 415, 422])
def test_refusals_for_good(status: int) -> None:
    """A 4xx with a Status keeps reason, message and causes."""
    causes = [{"reason": "NamespaceTerminating", "message": "m"}, "junk"]
    body = json.dumps(status_body(status, "Because", "no", causes=causes)).encode()
    refusal = fault(status, {}, body)
    assert isinstance(refusal, StatusError)
    assert (refusal.status, refusal.reason, refusal.message) == (status, "Because", "no")
    assert refusal.causes == ("NamespaceTerminating",)


@pytest.mark.parametrize("status", [301, 401, 408, 425, 429, 500, 502, 503, 504])
def test_passing_refusals(status: int) -> None:
    """401, 429, 5xx and what is no answer of an API server may be tried again."""
    passing = fault(status, {}, b"<html>proxy</html>")
    assert isinstance(passing, PassingFault)
    assert (passing.status, str(passing)) == (status, f"HTTP {status}: <html>proxy</html>")
    assert passing.perhaps_executed is (status not in {401, 429})


@pytest.mark.parametrize(
    ("header", "details", "seconds"),
    [
        ("3", {}, 3.0),
        (None, {"retryAfterSeconds": 2}, 2.0),
        ("soon", {"retryAfterSeconds": "x"}, None),
        ("-1", {}, None),
    ],
)
def test_retry_after(header: str | None, details: dict[str, object], seconds: float | None) -> None:
    """The header first, the Status's details second, nonsense never."""
    body = json.dumps(status_body(429, "TooManyRequests", "later", **details)).encode()
    passing = fault(429, {"Retry-After": header} if header else {}, body)
    assert isinstance(passing, PassingFault)
    assert passing.retry_after == seconds


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"\xff", b'{"a"'])
def test_an_answer_that_is_no_object_is_a_passing_fault(body: bytes) -> None:
    """A cut or foreign answer is not taken for data."""
    with pytest.raises(PassingFault):
        json_object(body)


def test_long_messages_are_cut() -> None:
    """A server cannot fill our memory or store with its message."""
    assert len(str(fault(500, {}, b"x" * 10_000))) < 2100
