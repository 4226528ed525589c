"""Alembic's entry: one connection, one transaction for all revisions, so that a killed migration leaves nothing.

Foreign keys are not enforced here: SQLite changes a table by making it anew, and dropping the old one would cascade.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import create_engine, event

from k8s_execution.store.schema import metadata


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # Python's driver would commit before each CREATE


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "")
event.listen(engine, "connect", _on_connect)
event.listen(engine, "begin", _begin)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
