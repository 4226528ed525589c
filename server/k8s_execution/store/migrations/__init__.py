"""Schema revisions (Alembic), brought in by a process of their own: `python -m k8s_execution.store.migrations URL`."""
