from __future__ import annotations

import os
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from support.ledger import new_ledger

from pirtad.worker.ledger import owner
from pirtad.worker.ledger.database import LedgerOutOfDate, open_ledger
from pirtad.worker.ledger.tables import Base


def test_migrations_make_the_tables_that_the_code_declares(tmp_path: Path) -> None:
    database = new_ledger(tmp_path)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.close()


def test_sqlite_commits_survive_a_power_loss_by_its_settings(tmp_path: Path) -> None:
    database = new_ledger(tmp_path)
    with database.reading() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert session.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
    database.close()


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = new_ledger(tmp_path)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(LedgerOutOfDate, match="9999"):
        open_ledger(database.url)


def test_an_owner_is_dead_only_when_its_process_is_gone() -> None:
    me = owner.this_process()
    host, namespace, pid, started = me.rsplit(":", 3)
    assert not owner.is_dead(me)

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, owner.this_process().encode())
        os._exit(0)
    other = os.read(reader, 200).decode()
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)

    assert owner.is_dead(other)
    assert owner.is_dead(f"{host}:{namespace}:{pid}:{int(started) - 1}"), "the pid is used again by another process"
    assert not owner.is_dead(f"elsewhere:{namespace}:{pid}:1"), "another host can only be judged by its lease"
