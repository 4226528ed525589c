"""Bring a database to the newest schema revision; several processes may do so at once, one after another."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import make_url


def configuration(url: str) -> Config:
    """Alembic's configuration without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).resolve().parent))
    config.set_main_option("sqlalchemy.url", url.replace("+aiosqlite", "").replace("%", "%%"))
    return config


def main(url: str) -> None:
    """Upgrade under a lock beside the database file, so that two starts do not race."""
    database = make_url(url).database
    if not database:
        command.upgrade(configuration(url), "head")
        return
    with Path(f"{database}.migrating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command.upgrade(configuration(url), "head")


if __name__ == "__main__":
    main(sys.argv[1])
