"""The execution service: ephemeral test environments on Kubernetes."""
