"""How containers fail, and what each failure leaves to be read."""

from __future__ import annotations

from typing import Any

import pytest

from support.kubeapi import Kube, Object
from support.kubeobjects import container, deployment, has_condition, job, phase, pod


def container_state(obj: Object, key: str = "state", of: str = "containerStatuses") -> Object:
    """The state of the first container, or nothing."""
    statuses = obj.get("status", {}).get(of) or [{}]
    return dict(statuses[0].get(key) or {})


def condition_of(obj: Object, kind: str) -> Object:
    """The condition of that type."""
    return next(c for c in obj["status"]["conditions"] if c["type"] == kind)


async def test_a_container_beyond_its_memory_is_killed_and_says_so(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1000")
    made["spec"]["containers"][0]["resources"] = {"limits": {"memory": "48Mi"}}
    await kube.created(made)
    found = await kube.until("pods", namespace, "p", phase("Failed"))
    ended = container_state(found)["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


@pytest.mark.parametrize(
    ("security", "refusal"),
    [
        pytest.param(
            {"runAsNonRoot": True}, "container has runAsNonRoot and image will run as root (pod: ", id="image"
        ),
        pytest.param(
            {"runAsNonRoot": True, "runAsUser": 0}, "container's runAsUser breaks non-root policy (pod: ", id="user"
        ),
    ],
)
async def test_what_wants_root_does_not_start_where_root_is_forbidden(
    kube: Kube, namespace: str, security: Object, refusal: str
) -> None:
    made = pod(namespace, "true")
    del made["spec"]["containers"][0]["securityContext"]["runAsUser"]
    made["spec"]["containers"][0]["securityContext"] |= security
    await kube.created(made)
    found = await kube.until("pods", namespace, "p", lambda o: container_state(o).get("waiting", {}).get("message"))
    waiting = container_state(found)["waiting"]
    assert waiting["reason"] == "CreateContainerConfigError"
    assert waiting["message"].startswith(refusal)


async def test_a_failed_init_container_fails_the_pod_and_the_others_never_start(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "true")
    made["spec"]["initContainers"] = [container("sh", "-c", "echo no; exit 9", name="setup")]
    await kube.created(made)
    found = await kube.until("pods", namespace, "p", phase("Failed"))
    assert container_state(found, of="initContainerStatuses")["terminated"]["exitCode"] == 9
    assert container_state(found)["waiting"]["reason"] == "PodInitializing"
    assert condition_of(found, "Initialized")["status"] == "False"
    assert (await kube.log(namespace, "p", container="setup")).body == "no\n"


async def test_a_liveness_probe_restarts_the_container(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "sh", "-c", "touch /tmp/alive; sleep 600", restartPolicy="Always")
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    made["spec"]["containers"][0]["livenessProbe"] = probe
    made = await kube.created(made)
    found = await kube.until("pods", namespace, "p", lambda o: container_state(o, "lastState").get("terminated"))
    assert found["status"]["containerStatuses"][0]["restartCount"] >= 1
    assert container_state(found, "lastState")["terminated"]["exitCode"] == 137
    selector = f"involvedObject.uid={made['metadata']['uid']},reason=Killing"
    async with kube.watch("events", namespace, fieldSelector=selector) as watch:
        event = (await watch.next())["object"]
    assert event["message"] == "Container main failed liveness probe, will be restarted"


async def test_a_startup_probe_holds_the_others_back(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "sh", "-c", "sleep 2; touch /tmp/started; sleep 600")
    started = {"exec": {"command": ["test", "-e", "/tmp/started"]}, "periodSeconds": 1, "failureThreshold": 60}
    ready = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    made["spec"]["containers"][0] |= {"startupProbe": started, "readinessProbe": ready}
    await kube.created(made)
    found = await kube.until("pods", namespace, "p", phase("Running"))
    status = found["status"]["containerStatuses"][0]
    assert (status["started"], status["ready"]) == (False, False)
    found = await kube.until("pods", namespace, "p", has_condition("Ready"))
    assert found["status"]["containerStatuses"][0]["started"] is True


async def test_a_readiness_probe_that_fails_is_an_event_with_its_output(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "sleep", "600")
    probe = {"exec": {"command": ["sh", "-c", "echo not yet; exit 1"]}, "periodSeconds": 1}
    made["spec"]["containers"][0]["readinessProbe"] = probe
    made = await kube.created(made)
    selector = f"involvedObject.uid={made['metadata']['uid']},reason=Unhealthy"
    async with kube.watch("events", namespace, fieldSelector=selector) as watch:
        event = (await watch.next())["object"]
    assert event["message"].startswith("Readiness probe failed: not yet")
    assert event["involvedObject"]["fieldPath"] == "spec.containers{main}"


async def test_a_pod_failure_policy_fails_the_job_by_exit_code(kube: Kube, namespace: str) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    made = job(namespace, "sh", "-c", "exit 42", backoffLimit=5, podFailurePolicy={"rules": [rule]})
    await kube.created(made)
    found = await kube.until("jobs", namespace, "j", has_condition("Failed"))
    failed = condition_of(found, "Failed")
    assert failed["reason"] == "PodFailurePolicy"
    assert "failed with exit code 42 matching FailJob rule at index 0" in failed["message"]
    assert found["status"]["failed"] == 1


async def test_a_pod_failure_policy_counts_other_exit_codes(kube: Kube, namespace: str) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    await kube.created(job(namespace, "sh", "-c", "exit 1", podFailurePolicy={"rules": [rule]}))
    found = await kube.until("jobs", namespace, "j", has_condition("Failed"))
    assert condition_of(found, "Failed")["reason"] == "BackoffLimitExceeded"


async def test_a_rollout_that_does_not_progress_says_so_after_its_deadline(kube: Kube, namespace: str) -> None:
    made = deployment(namespace, "sleep", "600", readinessProbe={"exec": {"command": ["false"]}, "periodSeconds": 1})
    made["spec"] |= {"progressDeadlineSeconds": 3, "minReadySeconds": 0}
    await kube.created(made)
    found = await kube.until("deployments", namespace, "d", has_condition("Progressing", "False"))
    progressing = condition_of(found, "Progressing")
    assert progressing["reason"] == "ProgressDeadlineExceeded"
    assert progressing["message"].startswith('ReplicaSet "d-')
    assert progressing["message"].endswith('" has timed out progressing.')
    assert condition_of(found, "Available")["reason"] == "MinimumReplicasUnavailable"


async def test_a_pod_with_a_finalizer_stays_after_a_forced_deletion(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "true", nodeSelector={"no": "such-node"})
    made["metadata"]["finalizers"] = ["example.com/hold"]
    await kube.created(made)
    reply = await kube.delete("pods", namespace, "p", {"gracePeriodSeconds": 0})
    assert reply.body["metadata"]["deletionGracePeriodSeconds"] == 0
    assert (await kube.get("pods", namespace, "p")).body["metadata"]["finalizers"] == ["example.com/hold"]
    await kube.patch("pods", namespace, "p", {"metadata": {"finalizers": None}})
    assert (await kube.get("pods", namespace, "p")).status == 404


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "k"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "there", "key": "k"}}, "couldn't find key k in Secret {}/there"),
    ],
    ids=["configmap", "key"],
)
async def test_what_a_variable_refers_to_must_be_there(kube: Kube, namespace: str, source: Any, message: str) -> None:
    await kube.created({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "there", "namespace": namespace}})
    made = pod(namespace, "true")
    made["spec"]["containers"][0]["env"] = [{"name": "A", "valueFrom": source}]
    await kube.created(made)
    found = await kube.until("pods", namespace, "p", lambda o: container_state(o).get("waiting", {}).get("message"))
    waiting = container_state(found)["waiting"]
    assert waiting["reason"] == "CreateContainerConfigError"
    assert waiting["message"] == message.format(namespace)
