"""Images from registries: pulled by the node, refused without a password, missing. The registries are the harness's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from cluster import builds, images, push, registry
from cluster.layout import Layout
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2
from support import plans
from support.kubectl import Kubectl
from support.service import Service, running

WAIT = "--timeout=90s"


@dataclass(frozen=True, slots=True)
class Pushed:
    """An image that no node has seen: busybox, and a file /words with words that nothing else contains."""

    name: str
    private_name: str
    digest: str
    words: str


@pytest.fixture(scope="module")
def pushed(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    """The image, in both registries."""
    folder, words = tmp_path_factory.mktemp("image"), f"words-{uuid4().hex}"
    (base,) = [image for image in images.catalogue(builds.build_all(print)) if image.names[0].endswith("busybox:1")]
    root = folder / "root"
    images.unpack(base.archive(), root)
    (root / "words").write_text(words)
    archive = folder / "image.tar"
    images.write_archive(base, root, archive)
    short = f"fresh:{uuid4().hex[:8]}"
    public, private = registry.both(layout)
    digest = push.push(archive, registry.target(layout, public), short)
    push.push(archive, registry.target(layout, private), short)
    return Pushed(f"{public.address}/{short}", f"{private.address}/{short}", digest, words)


@pytest.fixture
async def service(kubeconfig: Path, tmp_path: Path) -> AsyncIterator[Service]:
    """A service on the real cluster."""
    async with running(tmp_path / "data", kubeconfig) as made:
        yield made


async def lines(service: Service, execution_id: str) -> list[str]:
    """Every line of an execution's log."""
    return [line.text async for batch in service.logs(execution_id, follow=False) for line in batch.lines]


def plan_of(image: str) -> plans.Plan:
    """An application and a suite of one image; both say what is in it."""
    application = plans.api(image=image, command=["sh", "-c", "echo application $(cat /words); exec sleep 600"])
    del application["readiness"]
    suite = plans.shell("unit", "echo suite $(cat /words)", image=image)
    return plans.plan(suite, environment={"applications": [application]})


async def ended_with_image_pull(service: Service, plan: plans.Plan) -> execution_pb2.Diagnosis:
    """Run a plan that must end with IMAGE_PULL; the diagnosis."""
    ended = await service.done(await service.execute(plan), 90)
    assert execution_pb2.Verdict.Name(ended.verdict) == "ENVIRONMENT_FAILED", ended.diagnosis
    assert ended.diagnosis.code == "IMAGE_PULL", ended.diagnosis
    return ended.diagnosis


async def test_an_application_and_a_suite_run_from_the_registry(service: Service, pushed: Pushed) -> None:
    """Both print what only this image holds, and the result names the digest that was pushed."""
    ended = await service.done(await service.execute(plan_of(pushed.name)), 120)
    assert execution_pb2.Verdict.Name(ended.verdict) == "PASSED", ended.diagnosis
    said = await lines(service, ended.id)
    assert f"application {pushed.words}" in said
    assert f"suite {pushed.words}" in said
    (digest,) = [image.digest for image in ended.resolved.images if image.ref == pushed.name]
    assert digest == pushed.digest


async def test_a_registry_that_wants_a_password_is_quoted(service: Service, pushed: Pushed) -> None:
    """The service has none for it."""
    diagnosis = await ended_with_image_pull(service, plan_of(pushed.private_name))
    assert "no basic auth credentials" in f"{diagnosis.message} {diagnosis.excerpt}", diagnosis


async def test_a_missing_tag_is_told(service: Service, layout: Layout) -> None:
    """In the registry's words, with the image's name."""
    missing = f"{layout.registry}/busybox:no-such-tag"
    diagnosis = await ended_with_image_pull(service, plan_of(missing))
    assert missing in diagnosis.message
    assert "not found" in f"{diagnosis.message} {diagnosis.excerpt}", diagnosis


def test_a_pull_secret_opens_the_private_registry(kubectl: Kubectl, layout: Layout, pushed: Pushed) -> None:
    """And the kubelet does not take a wrong one: the password is really asked for."""
    password = layout.registry_password.read_text()
    for name, word in (("right", password), ("wrong", "x" + password)):
        kubectl.asserted(
            "create", "secret", "docker-registry", name, f"--docker-server={layout.private_registry}",
            f"--docker-username={registry.USER}", f"--docker-password={word}",
        )  # fmt: skip
        container = {"name": "c", "image": pushed.private_name, "command": ["cat", "/words"]}
        spec = {"restartPolicy": "Never", "containers": [container], "imagePullSecrets": [{"name": name}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        kubectl.asserted("create", "-f", "-", stdin=json.dumps(pod))
    kubectl.asserted("wait", "pod/right", "--for=jsonpath={.status.phase}=Succeeded", WAIT)
    assert kubectl.asserted("logs", "right") == pushed.words
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    kubectl.asserted("wait", "pod/wrong", f"--for=jsonpath={reason}=ImagePullBackOff", WAIT)
