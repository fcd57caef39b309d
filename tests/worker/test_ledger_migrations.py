"""A ledger of the schema before, with data in it, brought up to this version's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from pirtad.worker.ledger import database as database_module
from pirtad.worker.ledger.database import Database, open_ledger
from pirtad.worker.ledger.tables import Base

_DELIVERY = (
    "INSERT INTO deliveries (id, job_id, destination, sop_instance_uid, sha256, path, delivered_at, status{more})"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'old.sqlite'}"
        return
    postgres = request.getfixturevalue("postgres_url")
    empty = Database(postgres)
    with empty.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    empty.close()
    yield postgres


def migrate(url: str, revision: str, *, down: bool = False) -> None:
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(Path(database_module.__file__).with_name("migrations")))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)
    database.close()


def fill_first_schema(url: str) -> None:
    """One study with a delivered report, as version 1 of the schema held it."""
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO studies (id, study_uid, state, calling_ae, first_received_at, last_received_at,"
                " duplicates, reason_code, reason, hint, note)"
                " VALUES (1, '1.2', 'reported', 'AE', 1, 2, 0, '', '', '', '')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO jobs (id, study_id, job_key, state, stage, attempts, failures, created_at,"
                " next_attempt_at, last_error, territory, report_text)"
                " VALUES ('j', 1, 'k', 'done', 'deliver', 1, 0, 1, 1, '', 'anterior', 'text')"
            )
        )
        connection.execute(
            text(f"{_DELIVERY.format(more='')} VALUES (5, 'j', 'PACS', '2.25.7', 'aa', 'results/7.dcm', 3.5, 0)")
        )
    database.close()


def test_deliveries_of_the_first_schema_are_kept_as_narratives(url: str) -> None:
    # Given a ledger of the first schema
    migrate(url, "0001")
    fill_first_schema(url)
    # When this version opens it
    ledger = open_ledger(url)
    # Then its delivery is there, and is a narrative
    with ledger.engine.begin() as connection:
        kept = connection.execute(
            text(
                "SELECT id, job_id, destination, role, sop_instance_uid, sha256, path, delivered_at, status"
                " FROM deliveries"
            )
        ).all()
        assert [tuple(row) for row in kept] == [(5, "j", "PACS", "narrative", "2.25.7", "aa", "results/7.dcm", 3.5, 0)]
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    # and another object of the job has its own row, but not a second narrative
    values = "(:id, 'j', 'PACS', '2.25.8', 'bb', 'results/8.dcm', NULL, NULL, :role)"
    other = f"{_DELIVERY.format(more=', role')} VALUES {values}"
    with ledger.engine.begin() as connection:
        connection.execute(text(other), {"id": 6, "role": "measurements"})
    with pytest.raises(IntegrityError), ledger.engine.begin() as connection:
        connection.execute(text(other), {"id": 7, "role": "narrative"})
    ledger.close()


def test_the_way_back_keeps_the_narratives(url: str) -> None:
    migrate(url, "0001")
    fill_first_schema(url)
    migrate(url, "0002")
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(
            text(
                f"{_DELIVERY.format(more=', role')}"
                " VALUES (6, 'j', 'PACS', '2.25.8', 'bb', 'results/8.dcm', NULL, NULL, 'measurements')"
            )
        )
    database.close()
    migrate(url, "0001", down=True)
    database = Database(url)
    with database.engine.connect() as connection:
        assert "role" not in {column["name"] for column in inspect(connection).get_columns("deliveries")}
        (unique,) = inspect(connection).get_unique_constraints("deliveries")
        assert unique["column_names"] == ["job_id", "destination"]
        assert connection.execute(text("SELECT sop_instance_uid FROM deliveries")).scalars().all() == ["2.25.7"]
    database.close()
