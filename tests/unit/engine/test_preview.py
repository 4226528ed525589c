"""What `render` prints, in an order that kubectl can follow."""

from __future__ import annotations

from k8s_execution.engine import preview
from unit.manifests.samples import SETTINGS, SPECIFICATION, manifests


def kinds() -> list[str]:
    return [str(body["kind"]) for body in preview.objects(manifests(SETTINGS), SPECIFICATION, "quality-fabric")]


def test_the_namespace_comes_first() -> None:
    assert kinds()[0] == "Namespace"


def test_the_quota_comes_after_services_that_it_would_refuse_and_before_what_makes_pods() -> None:
    found = kinds()
    quota = found.index("ResourceQuota")
    assert {"Service", "ConfigMap", "Secret"} <= set(found[:quota])
    assert set(found[quota + 1 :]) == {"Deployment", "Job"}
