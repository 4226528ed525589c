"""Bring a database file to the newest schema revision; several processes may do so at once, one after another.

python -m k8s_execution.store.migrations FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config

from k8s_execution.store.engine import database_url
from k8s_execution.store.upgrade import alone


def configuration(database: Path) -> Config:
    """Alembic's configuration without a file of its own."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).resolve().parent))
    url = database_url(database).render_as_string(hide_password=False)
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def main(database: Path) -> None:
    """Upgrade under a lock beside the database file, so that two starts do not race."""
    with alone(database):
        command.upgrade(configuration(database), "head")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
