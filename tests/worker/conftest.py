"""Ledgers to test on: SQLite, and PostgreSQL where its server is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from support import live
from support.ledger import new_ledger

from pirtad.worker.ledger.database import Database, open_ledger


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of this test session's own, on a loopback port. It refuses to run as root."""
    initdb, postgres = server_program("initdb"), server_program("postgres")
    directory = tmp_path_factory.mktemp("pg")
    user = "nobody" if os.geteuid() == 0 else None
    if user is not None:
        # Everything of pytest's own above it: three levels where tests run side by side.
        base = tmp_path_factory.getbasetemp()
        for path in (directory, base, base.parent, *([base.parent.parent] if base.name.startswith("popen-") else [])):
            path.chmod(0o755)
        shutil.chown(directory, user)
    data, port = directory / "data", live.free_port()
    made = [initdb, "-D", str(data), "-U", "pirtad", "-A", "trust", "-E", "UTF8", "--locale=C"]
    subprocess.run(made, check=True, capture_output=True, user=user, cwd=directory, timeout=120)
    run = [postgres, "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", str(directory)]
    with live.process(run, directory / "postgres.log", user=user, cwd=directory):
        live.wait_for(lambda: live.answers(port), 30, "PostgreSQL")
        yield f"postgresql+psycopg://pirtad@127.0.0.1:{port}/postgres"


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
