"""Details of objects, events and refusals that people read and tools compare."""

from __future__ import annotations

from support.kubeapi import JSON_PATCH, Kube, Object
from support.kubeobjects import configmap, deployment, has_condition, job, phase, pod

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def test_a_job_without_labels_gets_those_of_its_pods(kube: Kube, namespace: str) -> None:
    made = await kube.created(job(namespace, "true"))
    labels = made["metadata"]["labels"]
    assert labels == made["spec"]["template"]["metadata"]["labels"]
    assert (labels["app"], labels["batch.kubernetes.io/job-name"]) == ("j", "j")


async def test_a_job_with_labels_keeps_them(kube: Kube, namespace: str) -> None:
    made = job(namespace, "true")
    made["metadata"]["labels"] = {"own": "label"}
    assert (await kube.created(made))["metadata"]["labels"] == {"own": "label"}


async def test_a_failed_test_of_a_json_patch_is_refused_without_a_reason(kube: Kube, namespace: str) -> None:
    await kube.created(configmap(namespace, a="1"))
    patch = [{"op": "test", "path": "/data/a", "value": "2"}]
    reply = await kube.patch("configmaps", namespace, "c", patch, JSON_PATCH)
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert reply.message == "the server rejected our request due to an error in our request"


async def test_a_deployment_without_a_selector_is_told_of_both_mistakes(kube: Kube, namespace: str) -> None:
    made = deployment(namespace, "true")
    del made["spec"]["selector"]
    reply = await kube.create(made)
    assert reply.status == 422
    assert [c["field"] for c in reply.body["details"]["causes"]] == ["spec.selector", "spec.template.metadata.labels"]
    assert 'Invalid value: {"app":"d"}: `selector` does not match template `labels`' in reply.message


async def test_replica_sets_carry_the_bounds_of_their_deployment(kube: Kube, namespace: str) -> None:
    await kube.created(deployment(namespace, "sleep", "600", replicas=2))
    await kube.until("deployments", namespace, "d", has_condition("Available"))
    (found,) = await kube.items("replicasets", namespace)
    notes = found["metadata"]["annotations"]
    assert notes["deployment.kubernetes.io/desired-replicas"] == "2"
    assert notes["deployment.kubernetes.io/max-replicas"] == "3"


async def test_terminating_replicas_are_counted_apart(kube: Kube, namespace: str) -> None:
    def counts(terminating: int) -> object:
        return lambda obj: obj["status"].get("terminatingReplicas") == terminating

    made = deployment(namespace, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 3
    await kube.created(made)
    await kube.until("deployments", namespace, "d", has_condition("Available"))
    await kube.patch("deployments", namespace, "d", {"spec": {"replicas": 0}})
    await kube.until("deployments", namespace, "d", counts(1))  # type: ignore[arg-type]
    await kube.until("deployments", namespace, "d", counts(0))  # type: ignore[arg-type]


async def test_a_running_pod_tells_generation_order_and_resources(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "sleep", "600")
    wanted = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}
    made["spec"]["containers"][0]["resources"] = wanted
    await kube.created(made)
    status = (await kube.until("pods", namespace, "p", has_condition("Ready")))["status"]
    assert status["observedGeneration"] == 1
    assert [c["type"] for c in status["conditions"]] == [
        "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
    ]  # fmt: skip
    assert all(c["observedGeneration"] == 1 and c["lastProbeTime"] is None for c in status["conditions"])
    (container,) = status["containerStatuses"]
    assert (container["resources"], container["allocatedResources"]) == (wanted, wanted["requests"])


async def test_the_events_of_a_start_are_listed_in_order(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "true"))
    await kube.until("pods", namespace, "p", phase("Succeeded"))

    async def told() -> list[Object]:
        return await kube.items("events", namespace, fieldSelector="involvedObject.name=p")

    async with kube.watch("events", namespace, fieldSelector="involvedObject.name=p") as watch:
        while (await watch.next())["object"]["reason"] != "Started":
            pass
    events = {e["reason"]: e["message"] for e in await told()}
    assert [r for r in events if r != "Pulling"] == ["Scheduled", "Pulled", "Created", "Started"]
    assert (events["Created"], events["Started"]) == ("Container created", "Container started")


async def test_a_missing_program_fails_an_exec_and_is_named(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sleep", "600"))
    await kube.until("pods", namespace, "p", phase("Running"))
    for program, why in (("/no/such", "stat /no/such: no such file or directory"),
                         ("no-such", "executable file not found in $PATH")):  # fmt: skip
        result = await kube.exec(namespace, "p", [program])
        assert (result.status["status"], result.status["reason"]) == ("Failure", "InternalError")
        assert f'unable to start container process: exec: "{program}": {why}' in result.status["message"]


async def test_the_table_of_service_accounts_has_no_secrets(kube: Kube, namespace: str) -> None:
    address = f"{kube.url}/api/v1/namespaces/{namespace}/serviceaccounts"
    async with kube.session.get(address, headers={"Accept": TABLE}) as answer:
        columns = [c["name"] for c in (await answer.json())["columnDefinitions"]]
    assert columns == ["Name", "Age"]
