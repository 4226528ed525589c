"""Who is swept, and who is admitted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.domain.lifecycle import Phase
from k8s_execution.engine import admission
from k8s_execution.engine.sweep import judge
from k8s_execution.ports.store import QueueEntry
from support import build

NOW = build.START + 3600 * build.SECOND


@pytest.mark.parametrize(
    ("installation", "expires_at", "row", "seen_before", "expected"),
    [
        ("installation", None, Phase.TESTING, False, None),
        ("installation", None, Phase.DONE, False, True),
        ("installation", None, None, False, False),
        ("installation", None, None, True, True),
        ("installation", NOW - 1, None, False, True),
        ("other", None, None, True, False),
        ("other", NOW + 1, None, True, None),
        ("other", NOW - 1, None, False, True),
        ("", None, None, True, False),
    ],
)
def test_orphans(
    installation: str, expires_at: int | None, row: Phase | None, seen_before: bool, expected: bool | None
) -> None:
    """None: somebody answers for it; False: reported only; True: may be deleted."""
    namespace = build.namespace(installation=installation, expires_at=expires_at)
    found = judge(namespace, "installation", row, NOW, seen_before=seen_before)
    assert (found and found.deletable) is expected if found is None else found.deletable is expected


def test_a_namespace_is_not_an_orphan_before_its_row_can_be_seen() -> None:
    """A young namespace without a row is only reported, however often it was seen."""
    found = judge(build.namespace(), "installation", None, build.START + build.SECOND, seen_before=True)
    assert found is not None
    assert not found.deletable


ENTRIES = st.lists(
    st.builds(QueueEntry, st.uuids().map(str), st.just("p"), st.integers(-3, 3), st.integers(0, 50)), max_size=20
)


@given(ENTRIES, st.integers(0, 10), st.integers(0, 10))
def test_admission_fills_the_cap_first_in_first_out_within_a_priority(
    queue: list[QueueEntry], cap: int, active: int
) -> None:
    """Never more than the cap; nobody is passed by a later one of the same priority."""
    chosen = admission.chooser(cap)(queue, active)
    assert len(chosen) == min(len(queue), max(0, cap - active))
    admitted = [e for e in queue if e.id in chosen]
    waiting = [e for e in queue if e.id not in chosen]
    for a in admitted:
        assert all((-a.priority, a.created_at) <= (-w.priority, w.created_at) for w in waiting)
