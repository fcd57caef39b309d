"""The ledger's connection: SQLite (WAL, synchronous=FULL) by default, PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.orm import Session

_BUSY_TIMEOUT_S = 30  # chosen: longer than any transaction here, shorter than a DIMSE timeout by default
_MIGRATION_LOCK = 0x70697274  # key of PostgreSQL's advisory lock: two processes must not migrate at once


class LedgerOutOfDate(Exception):
    """The database has another schema revision than this version of pirtad."""


class Database:
    """An engine and the one way to open a transaction on it. Safe to share between threads, not across fork."""

    def __init__(self, url: str) -> None:
        self.url = url
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connect_args: dict[str, Any] = {"timeout": _BUSY_TIMEOUT_S} if self.is_sqlite else {}
        # hide_parameters: an error's text goes to the log, and a statement's parameters may hold a report.
        self.engine: Engine = create_engine(
            url, connect_args=connect_args, pool_pre_ping=not self.is_sqlite, hide_parameters=True
        )
        if self.is_sqlite:
            event.listen(self.engine, "connect", _set_pragmas)
            event.listen(self.engine, "begin", _begin_immediate)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed (and on disk) when the block ends, or rolled back if it raises."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for queries alone: on SQLite it neither waits for writers nor makes them wait."""
        connection = self.engine.execution_options(pirtad_read_only=True)
        with Session(connection, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Return every connection."""
        self.engine.dispose()


def open_ledger(url: str) -> Database:
    """Connect, bringing the schema up to this version first."""
    database = Database(url)
    with database.engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config = _alembic_config(url)
        current = MigrationContext.configure(connection).get_current_revision()
        script = ScriptDirectory.from_config(config)
        if current != script.get_current_head():
            if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
                raise LedgerOutOfDate(
                    f"the ledger has schema {current}, unknown to this version: install a newer pirtad"
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return database


def _alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def _set_pragmas(connection: Any, _record: Any) -> None:  # noqa: ANN401 - a DBAPI connection has no type
    # The driver would open transactions lazily and in deferred mode, in which a reader that turns writer fails at
    # once under contention; we begin them ourselves (SQLAlchemy's documented recipe for pysqlite).
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Any) -> None:  # noqa: ANN401
    read_only = connection.get_execution_options().get("pirtad_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
