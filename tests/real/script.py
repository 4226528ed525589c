"""The judge's script: kubectl commands in their order, as data, and the objects that they act on.

Each step is run as a person would type it, in one fresh namespace; a later step sees what the earlier ones left. Apart
from the test, so that the script can be read as one page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

Object = dict[str, Any]
IMAGE = "busybox:1"
SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True, slots=True)
class Step:
    """One command. `name` is what reports call it; `stdin` is given to it."""

    name: str
    arguments: tuple[str, ...]
    stdin: str = ""

    @property
    def document(self) -> bool:
        """True if it prints YAML or JSON."""
        return bool({"yaml", "json"} & set(self.arguments))

    @property
    def unordered(self) -> bool:
        """True if the lines of its output have no order: events of the same second; resources of a limit (a Go map)."""
        return "events" in self.arguments or "limits/limits" in self.arguments


def step(name: str, command: str, *more: str, stdin: str = "") -> Step:
    """A step from a command line without quoting, and arguments that hold spaces."""
    return Step(name, (*command.split(), *more), stdin)


def text(*objects: Object) -> str:
    """Objects as a YAML stream."""
    return yaml.safe_dump_all(objects, sort_keys=False)


def pod_spec(*command: str, **given: Any) -> Object:
    """One restricted container."""
    container = {"name": "main", "image": IMAGE, "command": list(command), "securityContext": SECURITY}
    container["resources"] = {"requests": {"cpu": "20m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}
    return {"containers": [container], "terminationGracePeriodSeconds": 1, "enableServiceLinks": False,
            "automountServiceAccountToken": False, **given}  # fmt: skip


def deployment(name: str = "web", replicas: int = 1) -> Object:
    """A Deployment that runs until it is told to end."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod_spec("sh", "-c", "echo up; exec sleep 600")}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def job(name: str, script: str) -> Object:
    """A Job of one pod and no second try."""
    spec = pod_spec("sh", "-c", script, restartPolicy="Never")
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": template}}  # fmt: skip


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config"}, "data": {"a": "1", "b": "two\n"}}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secret"}, "stringData": {"key": "value"}}
QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "quota"},
    "spec": {"hard": {"pods": "9", "requests.cpu": "1", "limits.memory": "1Gi"}},
}
LIMITS = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "limits"},
    "spec": {"limits": [{"type": "Container", "default": {"cpu": "1", "memory": "64Mi"},
                         "defaultRequest": {"cpu": "20m", "memory": "16Mi"}}]},
}  # fmt: skip
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "inside"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
             "ingress": [{"from": [{"podSelector": {}}]}],
             "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443, "protocol": "TCP"}]}]},
}  # fmt: skip
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "runner"},
           "automountServiceAccountToken": False}  # fmt: skip
ALL = text(LIMITS, POLICY, ACCOUNT, CONFIG, SECRET, SERVICE, deployment())
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone", "labels": {"app": "alone"}},
       "spec": pod_spec("sh", "-c", "echo one; echo two; echo three; exec sleep 600")}  # fmt: skip
BIGGER = {**deployment(), "spec": {**deployment()["spec"], "minReadySeconds": 1}}
WRONG = {**CONFIG, "metadata": {"name": "Not A Name"}}
GREEDY: Object = {**POD, "metadata": {"name": "greedy"}, "spec": pod_spec("true")}
GREEDY["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "2"}, "limits": {"cpu": "2", "memory": "64Mi"}}
INCOMPLETE = {**deployment("broken"), "spec": {"replicas": 1, "template": deployment()["spec"]["template"]}}
OWNED = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "1"}}
TAKEN = {**OWNED, "data": {"a": "2"}}

MAKE = (
    step("apply a quota", "apply -f -", stdin=text(QUOTA)),
    step("wait for its status", "wait --for=jsonpath={.status.hard.pods}=9 quota/quota --timeout=60s"),
    step("apply", "apply -f -", stdin=ALL),
    step("apply again", "apply -f -", stdin=ALL),
    step("rollout status", "rollout status deployment/web --timeout=60s"),
    step("wait available", "wait --for=condition=Available deployment/web --timeout=60s"),
    step("apply a pod", "apply -f -", stdin=text(POD)),
    step("wait ready", "wait --for=condition=Ready pod/alone --timeout=60s"),
    step("apply a job", "apply -f -", stdin=text(job("good", "echo done"))),
    step("wait complete", "wait --for=condition=complete job/good --timeout=60s"),
    step("create a job that fails", "create -f -", stdin=text(job("bad", "echo no; exit 3"))),
    step("wait failed", "wait --for=condition=failed job/bad --timeout=60s"),
)
GET = tuple(
    step(f"get {what} {form}".strip(), f"get {what} {form}")
    for what, forms in {
        "deployment/web": ("", "-o wide", "-o name", "-o yaml", "-o json", "--show-labels"),
        "replicasets": ("", "-o wide", "-o yaml"),
        "pod/alone": ("", "-o wide", "-o yaml", "-o jsonpath={.status.phase}", "-o json"),
        "pods": ("--sort-by=.metadata.name", "-l app=alone -o name", "--field-selector=status.phase=Succeeded",
                 "-o custom-columns=N:.metadata.labels.app,P:.status.phase"),
        "jobs": ("", "-o wide"),
        "job/good": ("-o yaml",),
        "job/bad": ("-o jsonpath={.status.conditions[*].reason}",),
        "service/web": ("", "-o wide", "-o yaml"),
        "configmap/config": ("", "-o yaml"),
        "secret/secret": ("", "-o yaml"),
        "serviceaccount/runner": ("", "-o yaml"),
        "resourcequota": ("", "-o yaml"),
        "limitrange": ("", "-o yaml"),
        "networkpolicy": ("", "-o yaml"),
        "endpointslices": ("",),
        "all": ("",),
        "deploy,svc": ("-o name", "-L app"),
        "nosuchkind": ("",),
        "pod/missing": ("", "--ignore-not-found"),
    }.items()
    for form in forms
)  # fmt: skip
LOOK = (
    *(step(f"describe {what}", f"describe {what}") for what in (
        "deployment/web", "pod/alone", "job/good", "job/bad", "service/web", "configmap/config", "secret/secret",
        "serviceaccount/runner", "quota/quota", "limits/limits", "networkpolicy/inside", "replicaset -l app=web")),
    step("logs", "logs alone"),
    step("logs tail", "logs alone --tail=1"),
    step("logs bytes", "logs alone --limit-bytes=5"),
    step("logs timestamps", "logs alone --timestamps"),
    step("logs of a job, followed", "logs -f job/good"),
    step("logs by label", "logs -l app=good --prefix"),
    step("logs of a missing container", "logs alone -c nothing"),
    step("logs previous", "logs alone --previous"),
    step("exec", "exec alone -- echo inside"),
    step("exec exit code", "exec alone -- sh -c", "echo no >&2; exit 7"),
    step("exec stdin", "exec -i alone -- cat", stdin="through\n"),
    step("exec a missing program", "exec alone -- /no/such/program"),
    step("exec in a deployment", "exec deploy/web -- echo inside"),
    step("events of a job", "events --for job/good"),
    step("events of a pod", "events --for pod/alone --types=Normal"),
    step("can-i create pods", "auth can-i create pods"),
    step("can-i exec", "auth can-i create pods --subresource=exec"),
)  # fmt: skip
CHANGE = (
    step("diff without a difference", "diff -f -", stdin=text(deployment())),
    step("diff with a difference", "diff -f -", stdin=text(BIGGER)),
    step("dry run of a change", "apply --dry-run=server -f -", stdin=text(BIGGER)),
    step("dry run left nothing", "get deployment/web -o jsonpath={.spec.minReadySeconds}"),
    step("label", "label deployment/web tier=front"),
    step("label again", "label deployment/web tier=front"),
    step("label without overwrite", "label deployment/web tier=back"),
    step("label removed", "label deployment/web tier-"),
    step("annotate", "annotate configmap/config note=kept"),
    step("patch strategic", "patch deployment/web -p", '{"spec":{"revisionHistoryLimit":3}}'),
    step("patch merge", "patch configmap/config --type=merge -p", '{"data":{"a":null,"c":"3"}}'),
    step("patch json", "patch configmap/config --type=json -p", '[{"op":"replace","path":"/data/b","value":"2"}]'),
    step("patch json that tests", "patch configmap/config --type=json -p",
         '[{"op":"test","path":"/data/b","value":"9"}]'),
    step("patch without a change", "patch configmap/config --type=merge -p", '{"data":{"c":"3"}}'),
    step("patched", "get configmap/config -o yaml"),
    step("patch of an immutable field", "patch deployment/web --type=merge -p",
         '{"spec":{"selector":{"matchLabels":{"app":"other"}}}}'),
    step("scale", "scale deployment/web --replicas=2"),
    step("rollout status after scale", "rollout status deployment/web --timeout=60s"),
    step("wait scaled", "wait --for=jsonpath={.status.readyReplicas}=2 deployment/web --timeout=60s"),
    step("scale with a wrong precondition", "scale deployment/web --current-replicas=5 --replicas=1"),
    step("scale down", "scale deployment/web --replicas=0"),
    step("wait scaled down", "wait --for=delete pod -l app=web --timeout=60s"),
    step("scaled down", "get deployment/web"),
    step("rollout history", "rollout history deployment/web"),
    step("server-side apply", "apply --server-side -f -", stdin=text(OWNED)),
    step("server-side apply again", "apply --server-side -f -", stdin=text(OWNED)),
    step("server-side apply of another manager", "apply --server-side --field-manager=other -f -", stdin=text(TAKEN)),
    step("server-side apply by force", "apply --server-side --field-manager=other --force-conflicts -f -",
         stdin=text(TAKEN)),
    step("server-side applied", "get configmap/applied -o yaml --show-managed-fields"),
    step("server-side dry run", "apply --server-side --dry-run=server -f -", stdin=text(deployment("unmade"))),
    step("create what exists", "create -f -", stdin=text(CONFIG)),
    step("a wrong name", "apply -f -", stdin=text(WRONG)),
    step("a missing selector", "create -f -", stdin=text(INCOMPLETE)),
    step("over the quota", "create -f -", stdin=text(GREEDY)),
    step("replace", "replace -f -", stdin=text(CONFIG)),
    step("replace of a missing object", "replace -f -", stdin=text({**CONFIG, "metadata": {"name": "missing"}})),
    step("create configmap", "create configmap made --from-literal=a=b"),
)  # fmt: skip
DELETE = (
    step("delete a job in the foreground", "delete job/good --cascade=foreground --timeout=60s"),
    step("its pods are gone", "get pods -l app=good"),
    step("delete a job with orphans", "delete job/bad --cascade=orphan --timeout=60s"),
    step("its pod is left", "get pods -l app=bad -o jsonpath={.items[*].status.phase}"),
    step("delete by label", "delete pods -l app=bad --timeout=60s"),
    step("delete a deployment", "delete deployment/web --cascade=background --timeout=60s"),
    step("wait for its replica sets", "wait --for=delete rs -l app=web --timeout=60s"),
    step("delete at once", "delete pod/alone --grace-period=0 --force"),
    step("delete a missing object", "delete configmap/missing"),
    step("delete a missing object, ignored", "delete configmap/missing --ignore-not-found"),
    step("delete dry run", "delete configmap/config --dry-run=server"),
    step("delete several", "delete configmap/config secret/secret service/web"),
    step("wait for what is gone", "wait --for=delete configmap/config --timeout=5s"),
    step("wait for what never was", "wait --for=condition=Ready pod/missing --timeout=1s"),
    step("nothing is left", "get all"),
)
STEPS = (*MAKE, *GET, *LOOK, *CHANGE, *DELETE)
