"""Manifests: a plan in, Kubernetes objects out; and everything wrong with a plan, at once."""
