"""How a pod of a cluster reaches the API server of that cluster; client-go's `rest.InClusterConfig`.

It must not read the environment: the composition root says host, port and folder. The token is a file whose content
rotates, so it is read again while connected.
"""

from __future__ import annotations

from pathlib import Path

from k8s_execution.kube.kubeconfig import KubeConfig, KubeConfigError, Pem

CONTEXT = "in-cluster"


def in_cluster(host: str, port: str, folder: Path) -> KubeConfig:
    """The API server at `host`:`port` with the account in `folder` (files `token` and `ca.crt`).

    Raises KubeConfigError where this is no pod, or one without an account's token.
    """
    if not host or not port:
        raise KubeConfigError(
            "K8S_IN_CLUSTER is set, but this process is in no pod: KUBERNETES_SERVICE_HOST and "
            "KUBERNETES_SERVICE_PORT are missing"
        )
    token, authority = folder / "token", folder / "ca.crt"
    missing = [str(path) for path in (token, authority) if not path.is_file()]
    if missing:
        raise KubeConfigError(
            f"the pod has no service account token ({' and '.join(missing)} missing); "
            "set automountServiceAccountToken: true on the pod, or name the folder in K8S_EXECUTION_ACCOUNT_FOLDER"
        )
    address = f"[{host}]" if ":" in host else host
    return KubeConfig(
        server=f"https://{address}:{port}",
        context=CONTEXT,
        certificate_authority=Pem(file=str(authority)),
        token_file=str(token),
    )
