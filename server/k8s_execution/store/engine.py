"""Connections: one writer, several readers, and the waits of SQLite made explicit.

SQLite's own defaults let two "count, then insert" transactions both pass (measured), so a write transaction is begun
with `BEGIN IMMEDIATE`. WAL keeps readers from waiting for the writer; `synchronous=FULL` makes a commit survive the
machine's end, because Execute is answered after it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

BUSY_MILLISECONDS = 10_000
READERS = 4


def open_engine(url: str, *, writer: bool) -> AsyncEngine:
    """An engine of one connection that writes, or of a few that read."""
    size = 1 if writer else READERS
    engine = create_async_engine(url, pool_size=size, max_overflow=0)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _on_connect)
        event.listen(engine.sync_engine, "begin", _begin_immediate if writer else _begin)
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by the listeners below, not by the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_MILLISECONDS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")
