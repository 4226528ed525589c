"""The Kubernetes API of the simulated cluster: storage, rules and HTTP server."""
