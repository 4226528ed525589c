"""Brings a data folder's schema to the newest revision before it is used.

A new database gets all tables at once, in one transaction (a test proves that the migrations end in the same schema).
An older one is migrated by Alembic in a process of its own: importing it costs 20 MB that an idle service need not
keep. A newer one is refused. Several processes may start at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from k8s_execution.domain.faults import StoreUnavailable
from k8s_execution.store.engine import open_engine
from k8s_execution.store.schema import REVISION, metadata

_stamps = MetaData()
_stamp = Table(
    "alembic_version",
    _stamps,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


async def bring_up_to_date(database: Path, executor: Executor) -> None:
    """Make or migrate the schema; StoreUnavailable if that cannot be done."""
    found = await asyncio.get_running_loop().run_in_executor(executor, _found, database)
    if found == REVISION:
        return
    if found > REVISION:
        raise StoreUnavailable(
            f"{database} was written by a newer version (schema {found}, this version knows {REVISION})",
            "use that version, or another data folder",
        )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "k8s_execution.store.migrations", str(database), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise StoreUnavailable(f"{database} could not be brought to schema {REVISION}: {' '.join(last)}")


@contextmanager
def alone(database: Path) -> Iterator[None]:
    """Hold the lock beside a database file: the switch to WAL and a migration bear no company, nor do they wait."""
    lock = Path(f"{database}.lock")
    for file in (lock, database):  # for this user only, whatever the folder; SQLite gives its other files the same mode
        file.touch(mode=0o600)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _found(database: Path) -> str:
    """The revision of the database, after making its tables where it has none; empty before the first one."""
    engine = open_engine(database, writer=True)
    try:
        with alone(database), engine.begin() as connection:
            if not inspect(connection).has_table("alembic_version"):
                metadata.create_all(connection)
                _stamps.create_all(connection)
                connection.execute(insert(_stamp).values(version_num=REVISION))
            return connection.execute(select(_stamp.c.version_num)).scalar_one_or_none() or ""
    except DBAPIError as error:
        raise StoreUnavailable(f"{database} cannot be opened: {error.orig}") from error
    finally:
        engine.dispose()
