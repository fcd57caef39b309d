"""Ledgers to test on: SQLite, and PostgreSQL where its server is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from support import live
from support.ledger import new_ledger

from pirtad.worker.ledger.database import Database, open_ledger


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of this test session's own, on a socket in its directory. It refuses to run as root.

    Its directory is not one of pytest's: those are closed to other users, and closed again whenever another session of
    pytest begins, which the server notices at its next checkpoint.
    """
    initdb, postgres = server_program("initdb"), server_program("postgres")
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="pirtad-pg-") as made_here:
        directory = Path(made_here)
        if user is not None:
            shutil.chown(directory, user)
        data = directory / "data"
        made = [initdb, "-D", str(data), "-U", "pirtad", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run(made, check=True, capture_output=True, user=user, cwd=directory, timeout=120)
        run = [postgres, "-D", str(data), "-c", "listen_addresses=", "-k", str(directory)]
        with live.process(run, directory / "postgres.log", user=user, cwd=directory):
            live.wait_for(lambda: accepts(directory), 30, "PostgreSQL")
            yield f"postgresql+psycopg://pirtad@/postgres?host={directory}"


def accepts(directory: Path) -> bool:
    """Whether the server behind this directory's socket takes connections."""
    try:
        psycopg.connect(host=str(directory), user="pirtad", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def server_program(name: str) -> str:
    """Debian keeps PostgreSQL's server programs off the path."""
    folders = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    return found or str(live.missing("PostgreSQL is not installed"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty ledger on each kind of database."""
    if request.param == "sqlite":
        ledger = new_ledger(tmp_path)
    else:
        url = request.getfixturevalue("postgres_url")
        empty = Database(url)
        with empty.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        empty.close()
        ledger = open_ledger(url)
    yield ledger
    ledger.close()
