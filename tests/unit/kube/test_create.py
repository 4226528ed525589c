"""Creating and deleting twice is creating and deleting once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from k8s_execution.kube.client import Client
from k8s_execution.kube.create import Writer
from k8s_execution.ports.cluster import DryRunImpossible, ObjectRef, Propagation, Refused, Unreachable
from unit.kube.conftest import LIMITS, ProcessClock
from unit.kube.fake_api import FakeApi, Fault, status_body


def job(execution: str = "e1") -> dict[str, Any]:
    """A Job of an execution, as far as names go."""
    labels = {"k8s-execution.maestro/execution-id": execution}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n", "labels": labels}}


@pytest.fixture
def writer(client: Client) -> Writer:
    return Writer(client, LIMITS, ProcessClock())


async def test_a_new_object_is_posted(api: FakeApi, writer: Writer) -> None:
    """Uid and time of creation come back."""
    made = await writer.create(job(), "e1")
    assert (made.existed, made.created_at) == (False, 1795510800_000_000)
    assert made.uid == api.objects["jobs", "n", "j"]["metadata"]["uid"]
    assert api.seen[-1].path == "/apis/batch/v1/namespaces/n/jobs"


async def test_our_own_object_counts_as_success(api: FakeApi, writer: Writer) -> None:
    """409 AlreadyExists with our execution id."""
    first = await writer.create(job(), "e1")
    second = await writer.create(job(), "e1")
    assert (second.uid, second.existed) == (first.uid, True)


async def test_a_foreign_object_is_refused(api: FakeApi, writer: Writer) -> None:
    """Another execution's, or one without our label."""
    api.put("jobs", {"metadata": {"name": "j", "namespace": "n"}})
    with pytest.raises(Refused) as caught:
        await writer.create(job(), "e1")
    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")


async def test_a_lost_reply_is_resolved_by_looking(api: FakeApi, writer: Writer) -> None:
    """Executed, reply dropped: one object, one success, no second POST."""
    api.faults.append(Fault("POST", status=0, execute=True))
    made = await writer.create(job(), "e1")
    assert made.uid == api.objects["jobs", "n", "j"]["metadata"]["uid"]
    assert api.count("POST") == 1


@pytest.mark.parametrize("status", [0, 500, 502, 503, 504])
async def test_a_post_without_effect_is_posted_again_after_looking(api: FakeApi, writer: Writer, status: int) -> None:
    """Nothing is there, so it is sent again."""
    api.faults.append(Fault("POST", status=status, times=2))
    made = await writer.create(job(), "e1")
    assert not made.existed
    assert [s.method for s in api.seen] == ["POST", "GET", "POST", "GET", "POST"]


async def test_a_server_that_stays_down_is_unreachable(api: FakeApi, writer: Writer) -> None:
    """After the stated tries."""
    api.faults.append(Fault("", status=503, times=999))
    with pytest.raises(Unreachable):
        await writer.create(job(), "e1")


async def test_a_lost_reply_meets_a_foreign_object(api: FakeApi, writer: Writer) -> None:
    """Looking finds somebody else's: refused."""
    api.put("jobs", job("other"))
    api.faults.append(Fault("POST", status=500))
    with pytest.raises(Refused, match="not of this execution"):
        await writer.create(job(), "e1")


@pytest.mark.parametrize(
    "message",
    [
        'jobs "j" is forbidden: error looking up service account n/default: serviceaccount "default" not found',
        'jobs "j" is forbidden: status unknown for quota: environment, resources: pods',
    ],
)
async def test_a_fresh_namespace_is_waited_for(api: FakeApi, writer: Writer, message: str) -> None:
    """Controllers that are late are no refusal."""
    api.faults.append(Fault("POST", status=403, body=status_body(403, "Forbidden", message), times=5))
    assert not (await writer.create(job(), "e1")).existed


async def test_a_namespace_not_yet_seen_is_waited_for(api: FakeApi, writer: Writer) -> None:
    """404 for the namespace, not for the object."""
    body = status_body(404, "NotFound", 'namespaces "n" not found')
    api.faults.append(Fault("POST", status=404, body=body, times=3))
    assert not (await writer.create(job(), "e1")).existed


async def test_patience_ends(api: FakeApi, writer: Writer) -> None:
    """A service account that never comes is a refusal in the end."""
    message = "error looking up service account n/default"
    api.faults.append(Fault("POST", status=403, body=status_body(403, "Forbidden", message), times=999))
    with pytest.raises(Refused, match="service account"):
        await writer.create(job(), "e1")


@pytest.mark.parametrize(
    "body",
    [
        status_body(403, "Forbidden", "error looking up service account", causes=[{"reason": "NamespaceTerminating"}]),
        status_body(403, "Forbidden", "exceeded quota: environment"),
        status_body(403, "Forbidden", 'violates PodSecurity "restricted:latest"'),
    ],
)
async def test_other_refusals_are_final_at_once(api: FakeApi, writer: Writer, body: dict[str, Any]) -> None:
    """A terminating namespace, an exhausted quota, a policy."""
    api.faults.append(Fault("POST", status=403, body=body, times=99))
    with pytest.raises(Refused):
        await writer.create(job(), "e1")
    assert api.count("POST") == 1


async def test_a_race_for_the_quota_is_tried_again(api: FakeApi, writer: Writer) -> None:
    """409 Conflict is not AlreadyExists."""
    body = status_body(409, "Conflict", "Operation cannot be fulfilled on resourcequotas")
    api.faults.append(Fault("POST", status=409, body=body, times=2))
    assert not (await writer.create(job(), "e1")).existed


async def test_a_dry_run_says_so_and_may_be_repeated(api: FakeApi, writer: Writer) -> None:
    """dryRun=All, and a 503 is no reason to give up."""
    api.faults.append(Fault("POST", status=503))
    await writer.dry_run(job())
    assert [s.query for s in api.seen] == [[("dryRun", "All")]] * 2


async def test_an_unknown_kind_is_a_defect(writer: Writer) -> None:
    """The service does not create what it does not know."""
    with pytest.raises(ValueError, match="ClusterRole"):
        await writer.create({"kind": "ClusterRole", "metadata": {"name": "x"}}, "e1")


async def test_a_delete_carries_uid_grace_and_propagation(api: FakeApi, writer: Writer) -> None:
    """As DeleteOptions in the body."""
    made = await writer.create(job(), "e1")
    ref = ObjectRef("Job", "n", "j", made.uid)
    assert await writer.delete(ref, grace_seconds=0, propagation=Propagation.ORPHAN)
    assert api.seen[-1].body == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "preconditions": {"uid": made.uid},
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Orphan",
    }
    assert api.objects.get(("jobs", "n", "j")) is None


async def test_deleting_what_is_gone_is_false(writer: Writer) -> None:
    """404 is an answer, not an error."""
    assert not await writer.delete(ObjectRef("Namespace", "", "n"))


async def test_another_object_under_the_name_is_left_alone(api: FakeApi, writer: Writer) -> None:
    """The uid precondition fails: ours is gone."""
    await writer.create(job(), "e1")
    assert not await writer.delete(ObjectRef("Job", "n", "j", "uid-of-the-old"))
    assert ("jobs", "n", "j") in api.objects


async def test_a_namespace_already_under_deletion_counts_as_deleted(api: FakeApi, writer: Writer) -> None:
    """Kubernetes answers 409 while it removes the content."""
    made = api.put("namespaces", {"metadata": {"name": "n", "deletionTimestamp": "2026-11-24T09:00:00Z"}})
    body = status_body(409, "Conflict", "The system is ensuring all content is removed from this namespace.")
    api.faults.append(Fault("DELETE", status=409, body=body, times=9))
    assert await writer.delete(ObjectRef("Namespace", "", "n", made["metadata"]["uid"]))


async def test_a_delete_survives_a_lost_reply(api: FakeApi, writer: Writer) -> None:
    """The second try finds nothing: gone is what was wanted."""
    await writer.create(job(), "e1")
    api.faults.append(Fault("DELETE", status=0, execute=True))
    assert not await writer.delete(ObjectRef("Job", "n", "j"))
    assert ("jobs", "n", "j") not in api.objects


FORBIDDEN = (
    'jobs.batch is forbidden: User "system:serviceaccount:s:s" cannot create resource "jobs" in API group "batch"'
)


async def test_a_dry_run_makes_nothing(api: FakeApi, writer: Writer) -> None:
    """The request says so."""
    await writer.dry_run(job())
    assert api.seen[-1].query == [("dryRun", "All")]


async def test_a_dry_run_of_an_object_that_exists_is_no_refusal(api: FakeApi, writer: Writer) -> None:
    """The namespace of dry runs may well hold one of that name."""
    api.put("jobs", {"metadata": {"name": "j", "namespace": "n"}})
    await writer.dry_run(job())


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (403, "Forbidden", FORBIDDEN),
        (403, "Forbidden", 'jobs.batch "j" is forbidden: exceeded quota: q, requested: pods=1'),
        (404, "NotFound", 'namespaces "n" not found'),
    ],
)
async def test_what_says_nothing_of_the_object_makes_a_dry_run_impossible(
    api: FakeApi, writer: Writer, status: int, reason: str, message: str
) -> None:
    """No right, a quota that is not the environment's, no such namespace."""
    api.faults.append(Fault("POST", status=status, body=status_body(status, reason, message), times=9))
    with pytest.raises(DryRunImpossible, match=re.escape(message)):
        await writer.dry_run(job())


async def test_admission_s_refusal_of_a_dry_run_is_one(api: FakeApi, writer: Writer) -> None:
    """In its own words."""
    api.faults.append(Fault("POST", status=422, body=status_body(422, "Invalid", "denied by policy"), times=9))
    with pytest.raises(Refused, match="denied by policy"):
        await writer.dry_run(job())


async def test_rights_that_were_bound_a_moment_ago_are_waited_for(api: FakeApi, writer: Writer) -> None:
    """The authoriser learns of a RoleBinding a little later; a right that never comes is refused after a while."""
    api.faults.append(Fault("POST", status=403, body=status_body(403, "Forbidden", FORBIDDEN), times=3))
    assert not (await writer.create(job(), "e1")).existed
    api.faults.append(Fault("POST", status=403, body=status_body(403, "Forbidden", FORBIDDEN), times=999))
    with pytest.raises(Refused, match="cannot create resource"):
        await writer.create(job("e2"), "e2")
