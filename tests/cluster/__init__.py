"""A real Kubernetes on a plain Debian machine, for tests: `python -m cluster up|down|status` (docs/cluster.md).

One node, made from programs that are built from their Go modules: etcd, the control plane, kubelet, kube-proxy,
containerd, CoreDNS and an agent that enforces network policies. Knows nothing of the service that is tested on it.
"""
