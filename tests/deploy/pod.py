"""What a pod finds about its own cluster, made of a kubeconfig, for a service process that believes to be in one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from k8s_execution.kube.kubeconfig import load_kubeconfig


def account(folder: Path, kubeconfig: Path, token: str = "") -> dict[str, str]:
    """Write the folder that the kubelet mounts; the environment of such a pod. Default: the kubeconfig's own token."""
    config = load_kubeconfig(kubeconfig)
    authority = config.certificate_authority
    folder.mkdir()
    (folder / "token").write_text(token or config.token)
    (folder / "ca.crt").write_bytes(authority.data or Path(authority.file).read_bytes())
    server = urlsplit(config.server)
    return {
        "K8S_IN_CLUSTER": "true",
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
        "K8S_EXECUTION_ACCOUNT_FOLDER": str(folder),
    }
