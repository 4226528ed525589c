"""Pods on a node: how starting fails, how running ends, and what is told of both."""

from __future__ import annotations

from typing import Any

from support.kubeapi import Kube, Object, path
from support.kubeobjects import phase, pod


def waiting(reason: str) -> Any:
    def test(obj: Object) -> bool:
        states = [c.get("state", {}) for c in obj["status"].get("containerStatuses") or []]
        return any((s.get("waiting") or {}).get("reason") == reason for s in states)

    return test


def state_of(obj: Object) -> Object:
    return dict(obj["status"]["containerStatuses"][0]["state"])


async def test_a_missing_image_is_pulled_in_vain_then_backed_off(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "true")
    made["spec"]["containers"][0]["image"] = "registry.invalid/no/such-image:1"
    await kube.created(made)
    await kube.until("pods", namespace, "p", waiting("ErrImagePull"))
    found = await kube.until("pods", namespace, "p", waiting("ImagePullBackOff"))
    assert found["status"]["phase"] == "Pending"


async def test_an_impossible_image_name_is_told_apart(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "true")
    made["spec"]["containers"][0]["image"] = "UPPER//case::"
    await kube.created(made)
    await kube.until("pods", namespace, "p", waiting("InvalidImageName"))


async def test_a_missing_secret_is_a_configuration_error(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "true")
    made["spec"]["containers"][0]["env"] = [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "no-such", "key": "k"}}}
    ]
    await kube.created(made)
    found = await kube.until("pods", namespace, "p", waiting("CreateContainerConfigError"))
    assert 'secret "no-such" not found' in state_of(found)["waiting"]["message"]


async def test_a_command_that_is_not_there_ends_the_container_with_128(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "/no/such/command"))
    found = await kube.until("pods", namespace, "p", phase("Failed"))
    assert state_of(found)["terminated"]["exitCode"] == 128


async def test_a_crash_loop_keeps_the_last_state_and_the_previous_log(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sh", "-c", "echo once; exit 1", restartPolicy="Always"))
    found = await kube.until("pods", namespace, "p", waiting("CrashLoopBackOff"))
    status = found["status"]["containerStatuses"][0]
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert (await kube.log(namespace, "p", previous="true")).body == "once\n"


async def test_a_running_pod_has_an_address_and_a_start_time(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sleep", "600"))
    found = await kube.until("pods", namespace, "p", phase("Running"))
    assert found["status"]["podIP"]
    assert found["status"]["startTime"]
    assert found["spec"]["nodeName"]


async def test_a_graceful_delete_sets_the_time_and_sends_a_signal_first(kube: Kube, namespace: str) -> None:
    command = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    await kube.created(pod(namespace, "sh", "-c", command, terminationGracePeriodSeconds=10))
    await kube.until("pods", namespace, "p", phase("Running"))
    async with kube.session.get(
        f"{kube.url}/api/v1/namespaces/{namespace}/pods/p/log", params={"follow": "true"}
    ) as log:
        assert (await log.content.readline()) == b"up\n"
        reply = await kube.delete("pods", namespace, "p")
        assert reply.body["metadata"]["deletionGracePeriodSeconds"] == 10
        assert (await log.content.readline()) == b"bye\n"
    await kube.until_gone("pods", namespace, "p")


async def test_a_pod_that_ignores_the_signal_is_killed_after_its_grace(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sh", "-c", "trap '' TERM; sleep 600 & wait; sleep 600"))
    await kube.until("pods", namespace, "p", phase("Running"))
    await kube.delete("pods", namespace, "p", {"gracePeriodSeconds": 1})
    await kube.until_gone("pods", namespace, "p", patience=10)


async def test_grace_zero_removes_a_pod_at_once(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sleep", "600"))
    await kube.until("pods", namespace, "p", phase("Running"))
    await kube.delete("pods", namespace, "p", {"gracePeriodSeconds": 0})
    assert (await kube.get("pods", namespace, "p")).status == 404


async def test_a_pod_that_no_node_has_goes_at_once(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "true", nodeSelector={"no": "such-node"}))
    await kube.delete("pods", namespace, "p")
    assert (await kube.get("pods", namespace, "p")).status == 404


async def test_the_deadline_of_a_pod_fails_it(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sleep", "600", activeDeadlineSeconds=1))
    found = await kube.until("pods", namespace, "p", phase("Failed"))
    assert found["status"]["reason"] == "DeadlineExceeded"


async def test_an_eviction_deletes_the_pod(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sleep", "600"))
    await kube.until("pods", namespace, "p", phase("Running"))
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": namespace}}
    reply = await kube.request("POST", path("pods", namespace, "p", "eviction"), eviction)
    assert (reply.status, reply.body["status"]) == (201, "Success")
    await kube.until_gone("pods", namespace, "p")


async def test_an_eviction_says_on_the_pod_who_ends_it(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "sleep", "600")
    made["metadata"]["finalizers"] = ["example.com/hold"]
    await kube.created(made)
    await kube.until("pods", namespace, "p", phase("Running"))
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": namespace}}
    await kube.request("POST", path("pods", namespace, "p", "eviction"), eviction)
    found = await kube.until("pods", namespace, "p", lambda o: "deletionTimestamp" in o["metadata"])
    (target,) = [c for c in found["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert (target["status"], target["reason"]) == ("True", "EvictionByEvictionAPI")
    await kube.patch("pods", namespace, "p", {"metadata": {"finalizers": None}})
    await kube.until_gone("pods", namespace, "p")


async def test_readiness_follows_the_probe(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "sleep", "600")
    made["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    await kube.created(made)
    found = await kube.until(
        "pods", namespace, "p",
        lambda o: any(c["type"] == "Ready" and c["status"] == "True" for c in o["status"].get("conditions") or []),
    )  # fmt: skip
    assert found["status"]["containerStatuses"][0]["ready"] is True


async def test_environment_references_are_resolved(kube: Kube, namespace: str) -> None:
    await kube.created({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace},
                        "stringData": {"k": "secret"}})  # fmt: skip
    made = pod(namespace, "sh", "-c", "echo $(A)-$B-$C")
    made["spec"]["containers"][0]["env"] = [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "B", "value": "$(A)!"},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    await kube.created(made)
    await kube.until("pods", namespace, "p", phase("Succeeded"))
    assert (await kube.log(namespace, "p")).body == "secret-secret!-p\n"
