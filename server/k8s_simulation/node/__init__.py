"""The simulated node: an ordinary Kubernetes client whose pods are local processes.

It registers a Node, renews its lease, watches the pods bound to it, runs them, reports their status and serves logs
and exec the way a kubelet does. It must not import the simulated API server: everything goes over HTTP, so that the
node can be tested against any API and the API against any node. `agent` is the main loop; `pods` and `containers` are
the life of a pod; `sandbox`, `isolated` and `unisolated` are how a process is confined; `network`, `names`, `services`
and `relay` are the pod network; `server` and `execs` are the kubelet's HTTP side.
"""
