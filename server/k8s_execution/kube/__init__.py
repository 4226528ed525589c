"""The Kubernetes adapter: fulfils `ports.cluster.ClusterPort`. The only user of kubernetes_asyncio.

Raw dictionaries end at `parse`; nobody outside sees a response, a status code or a resourceVersion. Enter by
`kubeconfig.load_kubeconfig` and `cluster.open_cluster`.
"""
