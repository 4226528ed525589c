"""What is refused on the way in, with the words that a diagnosis is made from."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.kubeapi import Kube
from support.kubeobjects import deployment, has_condition, job, phase, pod, quota


def with_requests(namespace: str, name: str, cpu: str, memory: str) -> dict[str, Any]:
    made = pod(namespace, "true", name=name, nodeSelector={"no": "such-node"})
    sizes = {"cpu": cpu, "memory": memory}
    made["spec"]["containers"][0]["resources"] = {"requests": sizes, "limits": sizes}
    return made


async def ready_quota(kube: Kube, namespace: str, **hard: str) -> None:
    await kube.created(quota(namespace, **hard))
    await kube.until("resourcequotas", namespace, "q", lambda o: o["status"].get("used"))


async def guard(kube: Kube, namespace: str, level: str, *modes: str) -> None:
    """Pod Security for a namespace, once admission has heard of it: it knows namespaces from a cache."""
    labels = {f"pod-security.kubernetes.io/{mode}": level for mode in modes or ("enforce",)}
    await kube.patch("namespaces", "", namespace, {"metadata": {"labels": labels}})
    probe = pod(namespace, "true", name="probe")
    probe["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    async with asyncio.timeout(60):
        while "violates PodSecurity" not in (await kube.create(probe, dryRun="All")).message:  # noqa: ASYNC110 - a cache
            await asyncio.sleep(0.05)


async def test_a_pod_beyond_the_quota_is_forbidden_with_the_sum(kube: Kube, namespace: str) -> None:
    await ready_quota(kube, namespace, requests_cpu="1", pods="5")
    await kube.created(with_requests(namespace, "one", "600m", "64Mi"))
    reply = await kube.create(with_requests(namespace, "two", "600m", "64Mi"))
    assert (reply.status, reply.reason) == (403, "Forbidden")
    words = "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"
    assert words in reply.message


async def test_a_pod_without_requests_is_forbidden_under_a_quota_of_cpu(kube: Kube, namespace: str) -> None:
    await ready_quota(kube, namespace, requests_cpu="1")
    reply = await kube.create(pod(namespace, "true"))
    assert reply.status == 403
    assert "failed quota: q: must specify requests.cpu for: main" in reply.message


async def test_a_quota_counts_itself_free_when_pods_go(kube: Kube, namespace: str) -> None:
    await ready_quota(kube, namespace, pods="1")
    await kube.created(with_requests(namespace, "one", "10m", "64Mi"))
    await kube.until("resourcequotas", namespace, "q", lambda o: o["status"]["used"]["pods"] == "1")
    await kube.delete("pods", namespace, "one")
    await kube.until("resourcequotas", namespace, "q", lambda o: o["status"]["used"]["pods"] == "0")


async def test_a_finished_pod_does_not_count_against_the_quota(kube: Kube, namespace: str) -> None:
    await ready_quota(kube, namespace, pods="1")
    await kube.created(pod(namespace, "true"))
    await kube.until("pods", namespace, "p", phase("Succeeded"))
    await kube.until("resourcequotas", namespace, "q", lambda o: o["status"]["used"]["pods"] == "0")


async def test_a_refused_pod_of_a_job_shows_only_as_an_event(kube: Kube, namespace: str) -> None:
    await ready_quota(kube, namespace, pods="0")
    made = await kube.created(job(namespace, "true"))
    selector = f"involvedObject.uid={made['metadata']['uid']},reason=FailedCreate"
    async with kube.watch("events", namespace, fieldSelector=selector) as watch:
        event = (await watch.next())["object"]
    assert event["type"] == "Warning"
    assert "exceeded quota: q" in event["message"]
    assert not (await kube.get("jobs", namespace, "j")).body["status"].get("conditions")


async def test_a_refused_pod_of_a_deployment_is_a_condition(kube: Kube, namespace: str) -> None:
    await ready_quota(kube, namespace, pods="0")
    await kube.created(deployment(namespace, "true"))
    found = await kube.until("deployments", namespace, "d", has_condition("ReplicaFailure"))
    condition = next(c for c in found["status"]["conditions"] if c["type"] == "ReplicaFailure")
    assert condition["reason"] == "FailedCreate"
    assert "exceeded quota: q" in condition["message"]


async def test_a_limit_range_gives_defaults_and_sets_a_maximum(kube: Kube, namespace: str) -> None:
    limit = {"type": "Container", "default": {"cpu": "200m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}
    await kube.created({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l", "namespace": namespace},
                        "spec": {"limits": [limit]}})  # fmt: skip
    made = await kube.created(pod(namespace, "true"))
    assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "200m"}, "requests": {"cpu": "100m"}}
    reply = await kube.create(with_requests(namespace, "big", "2", "64Mi"))
    assert reply.status == 403
    assert "maximum cpu usage per Container is 1, but limit is 2" in reply.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hostNetwork": True}, "host namespaces (hostNetwork=true)"),
        (
            {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
            'latest": restricted volume types (volume "v" uses restricted volume type "hostPath")',
        ),
        ({"securityContext": {"runAsUser": 0}}, "runAsUser=0 (pod must not set runAsUser=0)"),
        ({"securityContext": {"sysctls": [{"name": "a.b", "value": "1"}]}}, "forbidden sysctls (a.b)"),
        (
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            {"securityContext": {"seLinuxOptions": {"type": "x", "user": "u"}}},
            'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "x"; user may not be set)',
        ),
        (
            {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
            'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")',
        ),
    ],
    ids=["hostNetwork", "hostPath", "root", "sysctls", "seccomp", "seLinux", "appArmor"],
)
async def test_pod_security_restricted_refuses(kube: Kube, namespace: str, change: Any, words: str) -> None:
    await guard(kube, namespace, "restricted")
    assert (await kube.create(pod(namespace, "true"))).status == 201
    reply = await kube.create(pod(namespace, "true", name="bad", **change))
    assert (reply.status, reply.reason) == (403, "Forbidden")
    assert 'violates PodSecurity "restricted:latest": ' in reply.message
    assert words in reply.message


async def test_pod_security_names_every_missing_field_of_a_plain_container(kube: Kube, namespace: str) -> None:
    await guard(kube, namespace, "restricted")
    plain = pod(namespace, "true")
    del plain["spec"]["containers"][0]["securityContext"]
    reply = await kube.create(plain)
    assert (
        'allowPrivilegeEscalation != false (container "main" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "main" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "main" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "main" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
        '"Localhost")'
    ) in reply.message


async def test_a_pod_that_fits_no_node_says_so(kube: Kube, namespace: str) -> None:
    big = pod(namespace, "true")
    big["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1000"}}
    made = await kube.created(big)
    found = await kube.until("pods", namespace, "p", has_condition("PodScheduled", "False"))
    condition = next(c for c in found["status"]["conditions"] if c["type"] == "PodScheduled")
    assert condition["reason"] == "Unschedulable"
    assert "Insufficient cpu" in condition["message"]
    selector = f"involvedObject.uid={made['metadata']['uid']},reason=FailedScheduling"
    async with kube.watch("events", namespace, fieldSelector=selector) as watch:
        assert "nodes are available" in (await watch.next())["object"]["message"]


async def test_a_dry_run_is_refused_by_quota_and_pod_security_with_the_same_words(kube: Kube, namespace: str) -> None:
    await ready_quota(kube, namespace, requests_cpu="1", pods="5")
    await guard(kube, namespace, "restricted")
    big, root = with_requests(namespace, "big", "2", "64Mi"), with_requests(namespace, "root", "10m", "64Mi")
    root["spec"]["hostNetwork"] = True
    for wrong in (big, root):
        dry, wet = [await kube.create(wrong, **more) for more in ({"dryRun": "All"}, {})]
        assert (dry.status, dry.reason, dry.message) == (wet.status, wet.reason, wet.message)
        assert dry.status == 403
    assert (await kube.create(with_requests(namespace, "fits", "900m", "64Mi"), dryRun="All")).status == 201
    found = await kube.get("resourcequotas", namespace, "q")
    assert found.body["status"]["used"] == {"pods": "0", "requests.cpu": "0"}


async def test_a_template_that_pod_security_would_refuse_is_accepted_with_a_warning(kube: Kube, namespace: str) -> None:
    await guard(kube, namespace, "restricted", "enforce", "warn")
    made = deployment(namespace, "true", replicas=0)
    made["spec"]["template"]["spec"]["hostNetwork"] = True
    reply = await kube.create(made)
    assert reply.status == 201
    assert reply.headers["Warning"].startswith('299 - "would violate PodSecurity \\"restricted:latest\\": ')
    assert "host namespaces (hostNetwork=true)" in reply.headers["Warning"]


async def test_the_baseline_level_allows_root_and_refuses_privileges(kube: Kube, namespace: str) -> None:
    await guard(kube, namespace, "baseline")
    made = pod(namespace, "true", nodeSelector={"no": "such-node"})
    made["spec"]["containers"][0]["securityContext"] = {"runAsUser": 0}
    assert (await kube.create(made)).status == 201
    made["metadata"]["name"] = "privileged"
    made["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    reply = await kube.create(made)
    assert reply.message == (
        'pods "privileged" is forbidden: violates PodSecurity "baseline:latest": privileged '
        '(container "main" must not set securityContext.privileged=true)'
    )


async def test_a_limit_range_sets_a_minimum_and_a_ratio(kube: Kube, namespace: str) -> None:
    limit = {"type": "Container", "min": {"cpu": "100m"}, "maxLimitRequestRatio": {"memory": "2"}}
    await kube.created({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l", "namespace": namespace},
                        "spec": {"limits": [limit]}})  # fmt: skip
    made = with_requests(namespace, "p", "50m", "64Mi")
    made["spec"]["containers"][0]["resources"]["limits"] = {"cpu": "50m", "memory": "256Mi"}
    reply = await kube.create(made)
    assert (reply.status, reply.reason) == (403, "Forbidden")
    assert "minimum cpu usage per Container is 100m, but request is 50m" in reply.message
    assert "memory max limit to request ratio per Container is 2, but provided ratio is 4.000000" in reply.message
