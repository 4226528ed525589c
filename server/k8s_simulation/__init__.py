"""A simulated Kubernetes cluster over HTTP; knows nothing of the service that is tested on it."""
