"""The command line `k8s-execution`; a module a subject, heavy imports on demand."""
