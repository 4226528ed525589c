"""What an execution's objects say."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from k8s_execution.domain import naming
from k8s_execution.domain.execution import StepKey
from k8s_execution.domain.plan import EgressRule, ImageSource, Policy, Readiness, ReadinessKind, Step, StepKind
from k8s_execution.manifests import pods
from k8s_execution.manifests.templates import TemplateRefused
from k8s_execution.ports.cluster import Body
from k8s_execution.ports.manifests import ManifestSource
from unit.manifests.samples import (
    API,
    ID,
    NAMESPACE,
    SECRETS,
    SETTINGS,
    SMALLEST,
    SPECIFICATION,
    SUITE,
    everything,
    execution,
    manifests,
    of_kind,
    own,
    with_application,
    with_environment,
    with_suite,
)

OBJECTS = everything()
DEPLOYMENT = of_kind(OBJECTS, "Deployment")
SUITE_JOB = next(o for o in OBJECTS if o["metadata"]["name"].startswith("suite-"))


def pod(body: Body) -> dict[str, Any]:
    spec: dict[str, Any] = body["spec"]["template"]["spec"]
    return spec


def container(body: Body, name: str) -> dict[str, Any]:
    spec = pod(body)
    found: list[dict[str, Any]] = [
        c for c in (*spec.get("initContainers", ()), *spec["containers"]) if c["name"] == name
    ]
    return found[0]


def env(body: Body, name: str) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container(body, name)["env"]}


def suite_job(plan: Any = SPECIFICATION, step: Step = SUITE) -> Body:
    return own().step(execution(plan), StepKey(step.kind, step.name))


def test_the_source_of_manifests_fulfils_its_port() -> None:
    source: ManifestSource = own()
    assert source.namespace(execution())["kind"] == "Namespace"


def test_the_namespace_carries_all_that_cleanup_needs() -> None:
    metadata = own().namespace(execution())["metadata"]
    assert metadata == {
        "name": NAMESPACE,
        "labels": {
            "app": "quality-fabric",
            "execution-id": ID,
            "ttl": "60",
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
            naming.LABEL_EXECUTION: ID,
            naming.LABEL_INSTALLATION: "installation-1",
            naming.LABEL_PROJECT: "shop",
            naming.LABEL_MANAGED_BY: "k8s-execution",
        },
        "annotations": {naming.ANNOTATION_EXPIRES_AT: "2025-11-24T17:00:00Z"},
    }


def test_the_ttl_label_is_rounded_up_to_minutes_and_the_expiry_to_seconds() -> None:
    plan = replace(SPECIFICATION, policy=Policy(ttl_ms=90_500))
    metadata = own().namespace(execution(plan))["metadata"]
    assert metadata["labels"]["ttl"] == "2"
    assert metadata["annotations"][naming.ANNOTATION_EXPIRES_AT] == "2025-11-24T16:01:31Z"


def test_a_preview_knows_no_expiry() -> None:
    run = replace(execution(), entered={}, created_at=0)
    assert "annotations" not in own().namespace(run)["metadata"]


@pytest.mark.parametrize("body", OBJECTS, ids=lambda b: f"{b['kind']}-{b['metadata']['name'][:12]}")
def test_every_object_and_pod_template_carries_execution_and_installation(body: dict[str, Any]) -> None:
    holders = [body["metadata"]]
    if "template" in body.get("spec", {}):
        holders.append(body["spec"]["template"]["metadata"])
    for metadata in holders:
        assert metadata["labels"][naming.LABEL_EXECUTION] == ID
        assert metadata["labels"][naming.LABEL_INSTALLATION] == "installation-1"


def test_one_application_and_one_suite_need_few_objects() -> None:
    plan = replace(SPECIFICATION, test_plan=replace(SPECIFICATION.test_plan, setup=(), teardown=()))
    foundation = own().foundation(execution(plan), SECRETS)
    assert [o["kind"] for o in foundation] == [
        "ResourceQuota", "LimitRange", "NetworkPolicy", "ServiceAccount", "Secret", "ConfigMap"
    ]  # fmt: skip
    assert len(everything(plan)) == 10


def test_a_plan_without_secrets_files_and_applications_makes_none_of_their_objects() -> None:
    kinds = [o["kind"] for o in own().foundation(execution(SMALLEST), {})]
    assert kinds == ["ResourceQuota", "LimitRange", "NetworkPolicy", "ServiceAccount"]


def test_everything_is_denied_but_dns_the_namespace_and_what_the_plan_names() -> None:
    spec = of_kind(OBJECTS, "NetworkPolicy")["spec"]
    dns = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    assert (spec["podSelector"], spec["policyTypes"]) == ({}, ["Ingress", "Egress"])
    assert spec["ingress"] == [{"from": [{"podSelector": {}}]}]
    assert spec["egress"] == [
        {"to": [{"podSelector": {}}]},
        {"to": [dns], "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
        {"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [{"protocol": "TCP", "port": 443}]},
    ]


def test_dns_peers_and_ports_and_further_egress_are_the_installations() -> None:
    settings = replace(
        SETTINGS, dns_namespace="", dns_cidrs=("169.254.20.10/32",), dns_ports=(5353,),
        extra_egress=(("198.51.100.7/32", (8081,)),),
    )  # fmt: skip
    spec = of_kind(everything(SMALLEST, source=manifests(settings), secrets={}), "NetworkPolicy")["spec"]
    assert spec["egress"][1:] == [
        {
            "to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}],
            "ports": [{"protocol": "UDP", "port": 5353}, {"protocol": "TCP", "port": 5353}],
        },
        {"to": [{"ipBlock": {"cidr": "198.51.100.7/32"}}], "ports": [{"protocol": "TCP", "port": 8081}]},
    ]


def test_forbidden_networks_are_cut_out_of_a_wider_one() -> None:
    plan = with_environment(egress=(EgressRule("0.0.0.0/0"), EgressRule("::/0")))
    rules = of_kind(everything(plan), "NetworkPolicy")["spec"]["egress"]
    assert rules[2] == {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["127.0.0.0/8", "169.254.0.0/16"]}}]}
    assert "fd00:ec2::254/128" in rules[3]["to"][0]["ipBlock"]["except"]


def test_pods_are_restricted_and_have_no_token() -> None:
    for body in (DEPLOYMENT, SUITE_JOB):
        spec = pod(body)
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
        assert spec["serviceAccountName"] == naming.SERVICE_ACCOUNT
        assert spec["securityContext"] == {
            "runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}
        }  # fmt: skip
        assert spec["terminationGracePeriodSeconds"] == 5
        for each in (*spec.get("initContainers", ()), *spec["containers"]):
            security = each["securityContext"]
            assert security["allowPrivilegeEscalation"] is False and security["capabilities"] == {"drop": ["ALL"]}
            assert set(each["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize(
    ("image", "wanted", "user"),
    [
        ("postgres:15", None, 999),
        ("registry.example:5000/library/postgres:15-alpine", None, 70),
        ("postgres@sha256:" + "0" * 64, None, 999),
        ("registry.example/my-postgres:1", None, 1000),
        ("python:3-slim", None, 1000),
        ("postgres:15", 5, 5),
    ],
)
def test_the_user_is_the_plans_else_the_images_else_1000(image: str, wanted: int | None, user: int) -> None:
    assert pods.user_of(image, wanted) == user


def test_an_application_is_a_deployment_without_rollout() -> None:
    spec = DEPLOYMENT["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["strategy"]) == (2, 0, {"type": "Recreate"})
    assert spec["progressDeadlineSeconds"] == 300
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert labels[naming.LABEL_APPLICATION] == "api"
    main = container(DEPLOYMENT, naming.APPLICATION_CONTAINER)
    assert (main["command"], main["args"], main["workingDir"]) == (list(API.command), list(API.args), "/srv")


def test_a_service_has_the_applications_name_and_selects_its_pods() -> None:
    service = of_kind(OBJECTS, "Service")
    assert service["metadata"]["name"] == "api"
    assert service["spec"]["selector"].items() <= DEPLOYMENT["spec"]["template"]["metadata"]["labels"].items()
    assert [p["port"] for p in service["spec"]["ports"]] == [8080, 9090]


def test_an_application_without_ports_has_no_service() -> None:
    assert "Service" not in {o["kind"] for o in everything(with_application(ports=()))}


def test_an_application_gets_addresses_variables_and_secrets() -> None:
    variables = env(DEPLOYMENT, "application")
    assert variables["API_URL"] == "http://api:8080" and variables["API_PORT"] == "8080"
    assert variables["LOG_LEVEL"] == "debug" and variables["DB_HOST"] == "db" and variables["PIP_INDEX_URL"] == "x"
    assert variables["API_TOKEN"] == {"secretKeyRef": {"name": naming.SECRET_ENV, "key": "API_TOKEN"}}
    assert "EXECUTION_ID" not in variables


def test_what_the_plan_sets_wins_over_what_is_ours() -> None:
    plan = with_application(env={"API_HOST": "mine", "LOG_LEVEL": "info"})
    names = [e["name"] for e in container(of_kind(everything(plan), "Deployment"), "application")["env"]]
    variables = env(of_kind(everything(plan), "Deployment"), "application")
    assert (variables["API_HOST"], variables["LOG_LEVEL"]) == ("mine", "info")
    assert len(names) == len(set(names))


def test_files_are_mounted_read_only_one_by_one() -> None:
    for body, name in ((DEPLOYMENT, "application"), (SUITE_JOB, "step")):
        (mount,) = [m for m in container(body, name)["volumeMounts"] if m["name"] == pods.FILES_VOLUME]
        assert mount["mountPath"] == "/etc/shop/config.yaml" and mount["readOnly"] is True
        assert of_kind(OBJECTS, "ConfigMap")["data"][mount["subPath"]] == "a: 1\n"


def test_volumes_are_empty_folders_with_a_size_and_shared_memory_is_memory() -> None:
    volumes = {v["name"]: v for v in pod(DEPLOYMENT)["volumes"]}
    assert volumes["data"]["emptyDir"] == {"sizeLimit": "1Gi"}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}


def test_a_read_only_root_comes_with_a_writable_tmp() -> None:
    main = container(DEPLOYMENT, "application")
    assert main["securityContext"]["readOnlyRootFilesystem"] is True
    assert "/tmp" in {m["mountPath"] for m in main["volumeMounts"]}
    plain = of_kind(everything(with_application(security=replace(API.security, writable_root=True))), "Deployment")
    assert "/tmp" not in {m["mountPath"] for m in container(plain, "application")["volumeMounts"]}


@pytest.mark.parametrize(
    ("readiness", "probe"),
    [
        (Readiness(ReadinessKind.HTTP, 80), {"httpGet": {"path": "/", "port": 80}}),
        (Readiness(ReadinessKind.TCP, 80), {"tcpSocket": {"port": 80}}),
        (Readiness(ReadinessKind.GRPC, 80, service="x"), {"grpc": {"port": 80, "service": "x"}}),
        (Readiness(ReadinessKind.EXEC, command=("test", "$(X)")), {"exec": {"command": ["test", "$$(X)"]}}),
    ],
)
def test_each_kind_of_readiness_is_a_probe(readiness: Readiness, probe: dict[str, Any]) -> None:
    made = container(of_kind(everything(with_application(readiness=readiness)), "Deployment"), "application")
    assert made["readinessProbe"] == {**probe, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 30}


def test_an_application_without_readiness_has_no_probe() -> None:
    made = of_kind(everything(with_application(readiness=None)), "Deployment")
    assert "readinessProbe" not in container(made, "application")


def test_a_step_runs_once_and_its_job_names_the_try() -> None:
    spec = SUITE_JOB["spec"]
    assert (spec["backoffLimit"], spec["podReplacementPolicy"], spec["completions"]) == (0, "Failed", 1)
    assert pod(SUITE_JOB)["restartPolicy"] == "Never"
    metadata = spec["template"]["metadata"]
    assert metadata["annotations"] == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    assert metadata["labels"].items() >= {
        naming.LABEL_STEP_KIND: "SUITE", naming.LABEL_STEP: "unit", naming.LABEL_SHARD: "0", naming.LABEL_ATTEMPT: "1"
    }.items()  # fmt: skip
    assert SUITE_JOB["metadata"]["name"] == naming.job(StepKey(StepKind.SUITE, "unit"))


def test_the_deadline_is_behind_every_clock_of_the_step() -> None:
    assert SUITE_JOB["spec"]["activeDeadlineSeconds"] == 600 + 3 + 900
    by_policy = suite_job(replace(with_suite(timeout_ms=None), policy=Policy(timeout_ms=60_000)))
    assert by_policy["spec"]["activeDeadlineSeconds"] == 60 + 3 + 900


def test_the_agent_is_in_all_three_containers() -> None:
    agent, step, collector = (
        container(SUITE_JOB, n)
        for n in (naming.AGENT_INIT_CONTAINER, naming.STEP_CONTAINER, naming.COLLECTOR_CONTAINER)
    )
    assert agent["command"] == ["/k8s-execution-agent", "install"]
    assert step["command"] == ["/k8s-execution/bin/agent", "run"]
    assert collector["command"] == ["/k8s-execution-agent", "hold", "--max", "1503s"]
    assert agent["image"] == collector["image"] == SETTINGS.agent_image
    for each in (agent, step, collector):
        assert {"name": naming.SHARED_VOLUME, "mountPath": naming.SHARED_PATH} in each["volumeMounts"]
    assert "workingDir" not in step and "env" not in collector


def test_the_agent_is_told_what_to_do() -> None:
    assert json.loads(env(SUITE_JOB, "step")["K8S_EXECUTION_STEP"]) == {
        "install": [["pip", "install", "-r", "requirements.txt"]],
        "command": ["python", "-m", "pytest"],
        "source": True,
        "in_place": False,
        "merge": True,
        "timeout_ms": 600_000,
        "grace_ms": 3_000,
    }


def test_an_image_source_is_not_waited_for() -> None:
    plan = replace(SPECIFICATION, test_plan=replace(SPECIFICATION.test_plan, source=ImageSource()))
    told = json.loads(env(suite_job(plan), "step")["K8S_EXECUTION_STEP"])
    assert (told["source"], told["in_place"]) == (False, True)


def test_a_suite_is_told_who_it_is_and_where_to_write() -> None:
    expected = {
        "EXECUTION_ID": ID, "SUITE": "unit", "STEP": "unit", "SHARD_INDEX": "0", "SHARD_COUNT": "1", "ATTEMPT": "1",
        "WORK_DIR": "/k8s-execution/work", "REPORT_DIR": "/k8s-execution/report",
        "ARTIFACT_DIR": "/k8s-execution/artifact", "CI": "true", "HOME": "/k8s-execution/work",
        "PYTHONUSERBASE": "/k8s-execution/work/.local", "BASE_URL": "http://api:8080",
    }  # fmt: skip
    assert env(SUITE_JOB, "step").items() >= expected.items()


def test_a_hook_is_told_its_step_and_no_suite() -> None:
    variables = env(of_kind(OBJECTS, "Job"), "step")
    assert variables["STEP"] == "migrate" and "SUITE" not in variables and "PYTEST_ADDOPTS" not in variables


@pytest.mark.parametrize(
    ("own_options", "shared_options", "result"),
    [({"PYTEST_ADDOPTS": "-q"}, {}, " -q"), ({}, {"PYTEST_ADDOPTS": "-x"}, " -x"), ({}, {}, "")],
)
def test_a_users_pytest_options_come_after_ours(
    own_options: dict[str, str], shared_options: dict[str, str], result: str
) -> None:
    plan = with_suite(env=own_options, command=("python", "-m", "pytest", "-v"))
    plan = replace(plan, environment=replace(plan.environment, env=shared_options))
    ours = "--junitxml=/k8s-execution/report/pytest.xml -o junit_family=xunit2"
    assert env(suite_job(plan), "step")["PYTEST_ADDOPTS"] == ours + result


def test_the_plans_command_wins_over_the_types() -> None:
    job = suite_job(with_suite(command=("tox",)))
    assert json.loads(env(job, "step")["K8S_EXECUTION_STEP"])["command"] == ["tox"]


def test_the_same_call_gives_the_same_objects() -> None:
    assert everything() == everything(source=manifests(SETTINGS))


def test_a_template_of_the_user_cannot_ask_for_more_than_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "serviceaccount.yaml").write_text(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: x\n"
    )
    with pytest.raises(TemplateRefused, match="ClusterRoleBinding are not allowed"):
        manifests(SETTINGS, tmp_path).foundation(execution(), SECRETS)


def test_a_template_of_the_user_may_add_its_own_labels_but_not_change_ours(tmp_path: Path) -> None:
    (tmp_path / "serviceaccount.yaml").write_text(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: k8s-execution\n  namespace: {{ namespace }}\n"
        "  labels: {cost-center: '7', k8s-execution.maestro/execution-id: other}\nautomountServiceAccountToken: false\n"
    )
    account = of_kind(list(manifests(SETTINGS, tmp_path).foundation(execution(), SECRETS)), "ServiceAccount")
    assert account["metadata"]["labels"]["cost-center"] == "7"
    assert account["metadata"]["labels"][naming.LABEL_EXECUTION] == ID


def test_rendering_is_fast_enough_for_the_event_loop() -> None:
    """5 ms an object is the bound; the fastest of several rounds is taken, so that a busy machine does not decide."""
    source, run = own(), execution()
    key = run.steps[1].key
    source.step(run, key)
    rounds = []
    for _ in range(10):
        start = time.perf_counter()
        source.step(run, key)
        rounds.append(time.perf_counter() - start)
    assert min(rounds) < 0.002
