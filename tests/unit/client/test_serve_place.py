"""Which cluster `serve` takes: never one that nobody named."""

from __future__ import annotations

from pathlib import Path

from unit.client.test_embedded import cli


def test_kubeconfig_alone_names_no_cluster(tmp_path: Path) -> None:
    """A shell's KUBECONFIG may point anywhere; the context must be said."""
    (tmp_path / "config").write_text("apiVersion: v1\nkind: Config\ncurrent-context: production\n")
    answer = cli(tmp_path, "serve", KUBECONFIG=str(tmp_path / "config"))
    assert answer.returncode == 2
    assert "--context NAME (KUBECONFIG alone names none)" in answer.stderr


def test_kubeconfig_is_where_a_context_is_looked_for(tmp_path: Path) -> None:
    """And a context that is not there is named."""
    (tmp_path / "config").write_text("apiVersion: v1\nkind: Config\ncurrent-context: production\n")
    answer = cli(tmp_path, "serve", "--context", "staging", KUBECONFIG=str(tmp_path / "config"))
    assert answer.returncode == 6
    assert "no context called 'staging'" in answer.stderr


def test_outside_a_pod_the_own_cluster_is_refused(tmp_path: Path) -> None:
    """With what is missing."""
    none = {"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": ""}
    answer = cli(tmp_path, "serve", "--grpc-address", "127.0.0.1:0", K8S_IN_CLUSTER="true", **none)
    assert answer.returncode == 6
    assert "in no pod: KUBERNETES_SERVICE_HOST" in answer.stderr
