"""Jobs, Deployments, Services: what controllers make of them."""

from __future__ import annotations

from support.kubeapi import Kube, Object
from support.kubeobjects import container, deployment, has_condition, job, phase, pod


async def pods_of(kube: Kube, namespace: str, app: str) -> list[Object]:
    return await kube.items("pods", namespace, labelSelector=f"app={app}")


async def test_a_job_completes_and_keeps_its_pod(kube: Kube, namespace: str) -> None:
    await kube.created(job(namespace, "true"))
    found = await kube.until("jobs", namespace, "j", has_condition("Complete"))
    assert found["status"]["succeeded"] == 1
    assert found["status"]["completionTime"]
    [one] = await pods_of(kube, namespace, "j")
    assert one["status"]["phase"] == "Succeeded"
    assert not one["metadata"].get("finalizers")
    assert one["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "j"


async def test_a_job_without_retries_fails_after_one_pod(kube: Kube, namespace: str) -> None:
    await kube.created(job(namespace, "sh", "-c", "exit 3"))
    found = await kube.until("jobs", namespace, "j", has_condition("Failed"))
    condition = next(c for c in found["status"]["conditions"] if c["type"] == "Failed")
    assert condition["reason"] == "BackoffLimitExceeded"
    [one] = await pods_of(kube, namespace, "j")
    assert one["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


async def test_a_job_past_its_deadline_fails_and_its_pod_goes(kube: Kube, namespace: str) -> None:
    await kube.created(job(namespace, "sleep", "600", activeDeadlineSeconds=2))
    found = await kube.until("jobs", namespace, "j", has_condition("Failed"))
    condition = next(c for c in found["status"]["conditions"] if c["type"] == "Failed")
    assert (condition["reason"], condition["message"]) == (
        "DeadlineExceeded", "Job was active longer than specified deadline"
    )  # fmt: skip


async def test_a_deleted_pod_of_a_job_is_not_replaced_when_the_policy_says_failed(kube: Kube, namespace: str) -> None:
    await kube.created(job(namespace, "sleep", "600"))
    await kube.until("jobs", namespace, "j", lambda o: o["status"].get("active") == 1)
    [one] = await pods_of(kube, namespace, "j")
    await kube.delete("pods", namespace, one["metadata"]["name"], {"gracePeriodSeconds": 0})
    await kube.until("jobs", namespace, "j", has_condition("Failed"))
    left = [p for p in await pods_of(kube, namespace, "j") if p["metadata"]["uid"] != one["metadata"]["uid"]]
    assert left == []


async def test_a_job_deleted_with_orphan_leaves_its_pods(kube: Kube, namespace: str) -> None:
    await kube.created(job(namespace, "true"))
    await kube.until("jobs", namespace, "j", has_condition("Complete"))
    await kube.delete("jobs", namespace, "j", {"propagationPolicy": "Orphan"})
    await kube.until_gone("jobs", namespace, "j")
    [one] = await pods_of(kube, namespace, "j")
    assert not one["metadata"].get("ownerReferences")


async def test_a_job_deleted_in_background_takes_its_pods_along(kube: Kube, namespace: str) -> None:
    await kube.created(job(namespace, "true"))
    await kube.until("jobs", namespace, "j", has_condition("Complete"))
    [one] = await pods_of(kube, namespace, "j")
    reply = await kube.delete("jobs", namespace, "j", {"propagationPolicy": "Background"})
    assert reply.body["status"] == "Success"
    await kube.until_gone("pods", namespace, one["metadata"]["name"])


async def test_a_foreground_delete_waits_for_the_dependents(kube: Kube, namespace: str) -> None:
    await kube.created(deployment(namespace, "sleep", "600"))
    await kube.until("deployments", namespace, "d", has_condition("Available"))
    reply = await kube.delete("deployments", namespace, "d", {"propagationPolicy": "Foreground"})
    assert reply.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    await kube.until_gone("deployments", namespace, "d")
    assert await kube.items("replicasets", namespace) == []
    assert await pods_of(kube, namespace, "d") == []


async def test_a_deployment_becomes_available_through_a_replica_set(kube: Kube, namespace: str) -> None:
    await kube.created(deployment(namespace, "sleep", "600", replicas=2))
    found = await kube.until("deployments", namespace, "d", lambda o: o["status"].get("availableReplicas") == 2)
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    [replica_set] = await kube.items("replicasets", namespace)
    assert replica_set["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
    for one in await pods_of(kube, namespace, "d"):
        assert one["metadata"]["ownerReferences"][0]["uid"] == replica_set["metadata"]["uid"]
        assert one["metadata"]["labels"]["pod-template-hash"]


async def test_a_new_template_rolls_out_and_keeps_the_old_replica_set(kube: Kube, namespace: str) -> None:
    await kube.created(deployment(namespace, "sleep", "600"))
    await kube.until("deployments", namespace, "d", has_condition("Available"))
    patch = {"spec": {"template": {"metadata": {"annotations": {"x": "y"}}}}}
    generation = (await kube.patch("deployments", namespace, "d", patch)).body["metadata"]["generation"]

    def done(obj: Object) -> bool:
        status = obj["status"]
        updated = status.get("updatedReplicas") == status["replicas"] == 1
        return bool(status["observedGeneration"] == generation and updated)

    await kube.until("deployments", namespace, "d", done)
    sets = await kube.items("replicasets", namespace)
    assert sorted(s["spec"]["replicas"] for s in sets) == [0, 1]


async def test_scale_is_a_subresource(kube: Kube, namespace: str) -> None:
    await kube.created(deployment(namespace, "sleep", "600"))
    scale = (await kube.get("deployments", namespace, "d", "scale")).body
    assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 1)
    scale["spec"]["replicas"] = 2
    del scale["metadata"]["resourceVersion"]  # the controller may have written the status meanwhile
    reply = await kube.request("PUT", f"/apis/apps/v1/namespaces/{namespace}/deployments/d/scale", scale)
    assert reply.status == 200, reply.message
    await kube.until("deployments", namespace, "d", lambda o: o["status"].get("readyReplicas") == 2)


async def test_only_ready_pods_are_behind_a_service(kube: Kube, namespace: str) -> None:
    await kube.created({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": namespace},
                        "spec": {"selector": {"app": "d"}, "ports": [{"port": 80, "targetPort": 8080}]}})  # fmt: skip
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    await kube.created(deployment(namespace, "sleep", "600", readinessProbe=probe))
    found = await kube.until(
        "endpoints", namespace, "s", lambda o: any(s.get("notReadyAddresses") for s in o.get("subsets") or [])
    )
    assert not found["subsets"][0].get("addresses")
    [one] = await pods_of(kube, namespace, "d")
    assert (await kube.exec(namespace, one["metadata"]["name"], ["touch", "/tmp/ready"])).exit_code == 0
    found = await kube.until(
        "endpoints", namespace, "s", lambda o: any(s.get("addresses") for s in o.get("subsets") or [])
    )
    assert found["subsets"][0]["ports"][0]["port"] == 8080
    assert found["subsets"][0]["addresses"][0]["targetRef"]["name"] == one["metadata"]["name"]
    slices = await kube.items("endpointslices", namespace, labelSelector="kubernetes.io/service-name=s")
    assert [e["conditions"]["ready"] for s in slices for e in s["endpoints"]] == [True]


async def test_init_containers_run_in_order_before_the_others(kube: Kube, namespace: str) -> None:
    mount = [{"name": "v", "mountPath": "/v"}]
    made = pod(namespace, "cat", "/v/out", volumes=[{"name": "v", "emptyDir": {}}])
    made["spec"]["containers"][0]["volumeMounts"] = mount
    made["spec"]["initContainers"] = [
        container("sh", "-c", f"echo {n} >> /v/out", name=f"i{n}", volumeMounts=mount) for n in (1, 2)
    ]
    await kube.created(made)
    await kube.until("pods", namespace, "p", phase("Succeeded"))
    assert (await kube.log(namespace, "p", container="main")).body == "1\n2\n"


async def test_events_are_found_by_the_uid_of_what_they_are_about(kube: Kube, namespace: str) -> None:
    made = await kube.created(pod(namespace, "true"))
    await kube.until("pods", namespace, "p", phase("Succeeded"))
    found = await kube.items("events", namespace, fieldSelector=f"involvedObject.uid={made['metadata']['uid']}")
    assert {"Scheduled", "Started"} <= {e["reason"] for e in found}
    assert all(e["involvedObject"]["uid"] == made["metadata"]["uid"] for e in found)


FETCH = """
import sys, time, urllib.request
for name in sys.argv[1:]:
    while True:
        try:
            print(urllib.request.urlopen(f"http://{name}/page", timeout=3).read().decode(), flush=True)
            break
        except OSError:
            time.sleep(0.2)
"""


async def test_a_service_is_reached_by_each_of_its_names(kube: Kube, namespace: str) -> None:
    serve = "mkdir /tmp/www && printf served >/tmp/www/page && exec python3 -m http.server -d /tmp/www 8080"
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    await kube.created({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": namespace},
                        "spec": {"selector": {"app": "d"}, "ports": [{"port": 80, "targetPort": 8080}]}})  # fmt: skip
    made = deployment(namespace, "sh", "-c", serve, readinessProbe=probe, image="python:3-slim")
    await kube.created(made)
    await kube.until("deployments", namespace, "d", has_condition("Available"))
    names = ["s", f"s.{namespace}", f"s.{namespace}.svc", f"s.{namespace}.svc.cluster.local"]
    client = pod(namespace, "python3", "-c", FETCH, *names)
    client["spec"]["containers"][0]["image"] = "python:3-slim"
    await kube.created(client)
    await kube.until("pods", namespace, "p", phase("Succeeded"))
    assert (await kube.log(namespace, "p")).body == "served\n" * 4
