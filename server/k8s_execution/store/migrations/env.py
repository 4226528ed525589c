"""Alembic's entry: one connection, one transaction for all revisions."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine

from k8s_execution.store.schema import metadata

engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "")
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
