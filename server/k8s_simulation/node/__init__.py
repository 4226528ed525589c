"""The simulated node: an ordinary Kubernetes client whose pods are local processes.

It registers a Node, renews its lease, watches the pods bound to it, runs them, reports their status and serves logs
and exec the way a kubelet does. It must not import the simulated API server: everything goes over HTTP, so that the
node can be tested against any API and the API against any node. `agent` is the main loop; `pods` and `containers` are
the life of a pod; `sandbox`, `isolated` and `unisolated` are how a process is confined; `network`, `names`, `services`
and `relay` are the pod network; `server` and `execs` are the kubelet's HTTP side.

Differences from a real node, by intent:

* One uid: inside a container it is called what the pod asks for, outside all are the node's user. So file permissions
  do not separate containers, a non-root user can write to the root file system, `fsGroup` has nothing to do.
* CPU limits, `sizeLimit`, ephemeral storage and network policies are not enforced; memory limits are, by sampling.
* stdout and stderr are one pipe: their order is kept, and a line may hold pieces of both.
* Service addresses forward TCP only; names exist for Services, not for single pods.
* Volumes are filled once; hostPath and service account tokens are not offered (FailedMount says so).
* The grace of a termination is as short as asked for; a kubelet never waits less than two seconds.
* An exec with a terminal has a terminal, but no name for it (`tty` says "not a tty").
* Without namespaces (`--allow-unisolated`) pods share the host's network, users and files: mount paths are translated
  where they are spoken of, service names work in Python programs only, one container a port.
"""
