"""The schema: made at once or migrated, it is the same; what cannot be used is refused in words."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from k8s_execution.domain.faults import StoreUnavailable
from k8s_execution.store.engine import database_url
from k8s_execution.store.migrations.__main__ import configuration, main
from k8s_execution.store.schema import REVISION, metadata
from k8s_execution.store.sqlite import DATABASE, SqlStore
from unit.store.made import acceptance


@pytest.fixture
def folder(data: Path) -> Path:
    """The data folder, made."""
    data.mkdir()
    return data


def modes(folder: Path) -> dict[str, int]:
    """The permissions of every file in a folder."""
    return {p.name: p.stat().st_mode & 0o777 for p in folder.iterdir() if p.is_file()}


def shape(database: Path) -> dict[str, object]:
    """Columns, keys and indexes of every table, as SQLite reports them."""
    connection = sqlite3.connect(database)
    try:
        tables = [r[0] for r in connection.execute("select name from sqlite_master where type = 'table' order by 1")]
        found: dict[str, object] = {}
        for table in tables:
            columns = connection.execute(f"pragma table_info({table})").fetchall()
            references = sorted(r[2:] for r in connection.execute(f"pragma foreign_key_list({table})"))
            indexes = sorted(r[1:] for r in connection.execute(f"pragma index_list({table})"))
            held = {i[0]: connection.execute(f"pragma index_info({i[0]})").fetchall() for i in indexes}
            found[table] = (columns, references, indexes, held)
        return found
    finally:
        connection.close()


async def test_tables_made_at_once_are_those_that_the_migrations_make(data: Path, store: SqlStore) -> None:
    migrated = data / "migrated.db"
    await asyncio.to_thread(main, migrated)
    assert shape(migrated) == shape(data / DATABASE)


def test_the_migrations_end_in_the_tables_as_declared(tmp_path: Path) -> None:
    main(tmp_path / "x.db")
    engine = create_engine(database_url(tmp_path / "x.db"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_revision_that_the_code_wants(tmp_path: Path) -> None:
    assert ScriptDirectory.from_config(configuration(tmp_path / "x.db")).get_heads() == [REVISION]


def test_the_schema_can_be_told_to_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert "CREATE INDEX" in str(CreateIndex(index).compile(dialect=dialect))


async def test_an_empty_database_file_is_filled(folder: Path, executor: ThreadPoolExecutor) -> None:
    (folder / DATABASE).touch()
    async with SqlStore.open(folder, executor) as store:
        assert (await store.accept(acceptance())).revision == 1


async def test_its_files_are_for_this_user_only(data: Path, store: SqlStore) -> None:
    await store.accept(acceptance())
    names = modes(data)
    assert set(names.values()) == {0o600}
    assert {DATABASE, f"{DATABASE}-wal"} <= set(names)


async def test_many_openings_of_one_new_folder_at_once_all_work(data: Path, executor: ThreadPoolExecutor) -> None:
    async def one() -> str:
        async with SqlStore.open(data, executor) as store:
            return (await store.accept(acceptance())).id

    assert len(set(await asyncio.gather(*(one() for _ in range(4))))) == 4


async def test_an_old_database_is_migrated_before_use(folder: Path, executor: ThreadPoolExecutor) -> None:
    connection = sqlite3.connect(folder / DATABASE)
    connection.execute("create table alembic_version (version_num varchar(32) not null primary key)")
    connection.commit()
    connection.close()
    async with SqlStore.open(folder, executor) as store:
        assert (await store.accept(acceptance())).revision == 1


async def test_a_database_of_a_newer_version_is_refused(data: Path, executor: ThreadPoolExecutor) -> None:
    async with SqlStore.open(data, executor):
        pass
    connection = sqlite3.connect(data / DATABASE)
    connection.execute("update alembic_version set version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreUnavailable, match="newer version"):
        async with SqlStore.open(data, executor):
            pass


async def test_a_file_that_is_no_database_is_refused(folder: Path, executor: ThreadPoolExecutor) -> None:
    (folder / DATABASE).write_bytes(b"not a database, but long enough to be taken for one" * 40)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        async with SqlStore.open(folder, executor):
            pass


async def test_a_store_in_use_does_not_import_alembic_or_the_orm(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from k8s_execution.store.sqlite import SqlStore
async def main():
    with ThreadPoolExecutor(1) as pool:
        async with SqlStore.open(Path({str(tmp_path)!r}), pool) as store:
            await store.events(0, 1)
asyncio.run(main())
names = ('alembic', 'mako', 'greenlet', 'aiosqlite', 'sqlalchemy.orm')
heavy = [m for m in sys.modules if m.startswith(names)]
assert not heavy, heavy
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
