"""A ledger of the schema before, with data in it, brought up to this version's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, Table, inspect, select, text
from sqlalchemy.exc import IntegrityError

from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger import claiming, publishing, receiving, retention_facts, retractions, views
from pirtad.worker.ledger import database as database_module
from pirtad.worker.ledger.database import Database, open_ledger
from pirtad.worker.ledger.registering import ReceivedInstance, register
from pirtad.worker.ledger.retractions import Answer, Requested
from pirtad.worker.ledger.tables import Base
from pirtad.worker.rejection import RejectionReason

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


# --- from the first schema that retractions and registry facts have, with rows in every table -----------------------

PACS = "PACS@127.0.0.1:104"
Rows = dict[str, list[dict[str, Any]]]


def _study(number: int, state: str) -> dict[str, Any]:
    return {
        "id": number, "study_uid": f"1.2.{number}", "state": state, "calling_ae": "CT1", "first_received_at": 1.0,
        "last_received_at": 2.0, "open_since": None, "duplicates": 0, "reason_code": "", "reason": "", "hint": "",
        "note": "",
    }  # fmt: skip


def _job(number: int, state: str, stage: str) -> dict[str, Any]:
    ended = state in ("done", "withdrawn")
    return {
        "id": f"job{number}", "study_id": number, "job_key": f"key{number}", "state": state, "stage": stage,
        "attempts": int(ended), "failures": 0, "created_at": 3.0, "next_attempt_at": 3.0, "published_at": None,
        "owner": None, "lease_until": None, "finished_at": 9.0 if ended else None, "last_error": "",
        "territory": "anterior", "report_text": f"the report {number}",
    }  # fmt: skip


def _delivery(number: int, job: int, role: str) -> dict[str, Any]:
    return {
        "id": number, "job_id": f"job{job}", "destination": PACS, "role": role, "sop_instance_uid": f"2.25.{number}",
        "sha256": "aa", "path": f"results/2.25.{number}.dcm", "delivered_at": 8.0, "status": 0,
    }  # fmt: skip


# A study that is reported, one that is withdrawn, and one that waits for a worker; what each revision added, filled.
ROWS: dict[str, Rows] = {
    "0004": {
        "studies": [_study(1, "reported"), _study(2, "withdrawn"), _study(3, "queued")],
        "series": [{"id": n, "study_id": n, "series_uid": f"1.2.{n}.1", "modality": "MR"} for n in (1, 2, 3)],
        "instances": [
            {
                "id": n, "study_id": n, "series_id": n, "sop_instance_uid": f"1.2.{n}.1.1", "sop_class_uid": "1.2.840",
                "transfer_syntax_uid": "1.2.840.1", "sha256": f"{n:064d}", "size_bytes": 10**6, "path": f"spool/{n}",
                "calling_ae": "CT1", "received_at": 2.0,
            }
            for n in (1, 2, 3)
        ],
        "jobs": [_job(1, "done", "deliver"), _job(2, "withdrawn", "deliver"), _job(3, "queued", "infer")],
        "job_instances": [{"job_id": f"job{n}", "instance_id": n} for n in (1, 2, 3)],
        "deliveries": [_delivery(1, 1, "narrative"), _delivery(2, 2, "narrative"), _delivery(3, 2, "retraction")],
        "retractions": [{"job_id": "job2", "reason": "quality", "words": "Motion.", "requested_at": 7.0}],
        "registry_facts": [
            {"id": 1, "study_uid": "1.2.3", "given_at": 1.0, "given_by": "ris", "via": "api", "facts": "{}"}
        ],
        "events": [
            {"id": 1, "at": 2.0, "study_id": 1, "job_id": "job1", "kind": "stored", "text": "told", "data": "{}"}
        ],
    },
    "0005": {
        "looks": [
            {
                "study_id": 1, "seen_instance_id": 1, "at": 2.5, "is_clear": 1, "counts": "met", "used_key": "k",
                "used_at": 2.0, "known_series": '["1.2.1.1"]', "plain_series": "[]", "reason_code": "", "reason": "",
            }
        ]
    },
    "0006": {
        "shipments": [
            {
                "job_id": f"job{n}", "destination": PACS, "state": "done", "attempts": 1, "next_attempt_at": 0.0,
                "asks": 1, "rounds": 0, "commitment": "committed", "code": "", "reason": "", "hint": "",
                "settled_at": 9.0,
            }
            for n in (1, 2)
        ],
        "commitments": [
            {"transaction_uid": "2.25.77", "job_id": "job1", "destination": PACS, "asked_at": 8.0, "answered_at": 8.5}
        ],
        "destinations": [
            {"name": PACS, "failures": 0, "retry_at": 0.0, "last_error": "", "last_failed_at": None, "last_ok_at": 9.0}
        ],
    },
    "0007": {
        "removals": [
            {
                "id": 1, "at": 9.5, "study_id": 2, "study_uid": "1.2.2", "what": "images", "why": "age", "files": 1,
                "size_bytes": 2**40, "finished_at": 9.6,
            }
        ]
    },
    "0008": {},
    "0009": {},
}  # fmt: skip


def _fill(url: str, rows: Rows) -> None:
    database = Database(url)
    with database.engine.begin() as connection:
        for name, added in rows.items():
            table = Table(name, MetaData(), autoload_with=connection)
            connection.execute(table.insert(), added)
            if not database.is_sqlite and "id" in table.columns and name != "jobs":
                # As it is where the rows were inserted one by one: the next one has the next number.
                connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}"))
    database.close()


def _require_kept(database: Database, rows: Rows) -> None:
    """Every row is there, and no other, with the values that it was inserted with."""
    with database.engine.connect() as connection:
        for name, wanted in rows.items():
            table = Table(name, MetaData(), autoload_with=connection)
            columns = [table.columns[column] for column in wanted[0]]
            found = [dict(row) for row in connection.execute(select(*columns)).mappings()]
            assert sorted(map(str, found)) == sorted(map(str, wanted)), name


def test_every_schema_since_registry_facts_is_brought_up_with_its_rows(url: str) -> None:
    kept: Rows = {}
    # Given a ledger that was brought up release by release, with rows in all that each release had
    for revision, rows in ROWS.items():
        migrate(url, revision)
        _fill(url, rows)
        kept |= rows
        database = Database(url)
        _require_kept(database, kept)
        database.close()
    # Then it is this version's
    ledger = open_ledger(url)
    with ledger.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert {name for rows in ROWS.values() for name in rows} == set(Base.metadata.tables)
    _require_at_work(ledger)
    ledger.close()


@pytest.mark.parametrize("revision", ["0004", "0005", "0006", "0007", "0008"])
def test_a_ledger_of_an_older_release_is_brought_up_at_once_and_works(url: str, revision: str) -> None:
    migrate(url, revision)
    filled = {name: rows for old, added in ROWS.items() if old <= revision for name, rows in added.items()}
    _fill(url, filled)
    ledger = open_ledger(url)
    _require_kept(ledger, filled)
    _require_at_work(ledger)
    ledger.close()


def _require_at_work(ledger: Database) -> None:
    """The three studies go on from where they were."""
    states = {view.study_uid: view.state for view in views.studies(ledger)}
    assert states == {"1.2.1": StudyState.REPORTED, "1.2.2": StudyState.WITHDRAWN, "1.2.3": StudyState.QUEUED}
    # The one that waits is worked on
    assert publishing.publishable(ledger, 20.0, lambda _: False) == [JobMessage("job3", Stage.INFER)]
    claimed = claiming.claim(ledger, JobMessage("job3", Stage.INFER), "me", 20.0, 30.0, lambda _: False)
    assert claimed is not None
    assert [file.path for file in claimed.files] == ["spool/3"]
    # the withdrawn one is known to be, with the note that it has
    withdrawn = views.study(ledger, "1.2.2")
    assert withdrawn is not None
    assert (withdrawn.is_retracted, withdrawn.withdraws) == (True, ("2.25.2",))
    asked = retractions.request(ledger, "1.2.2", RejectionReason.QUALITY, "Motion.", PACS, 21.0)
    assert asked == Answer(Requested.WITHDRAWN, ("2.25.2",))
    # the reported one can be withdrawn, and takes more images
    facts = {one.study_uid: one for one in retention_facts.studies_on_disk(ledger)}
    assert facts["1.2.1"].jobs[0].state is JobState.DONE
    more = ReceivedInstance("1.2.1", "1.2.1.1", "1.2.1.1.2", "1.2.840", "1.2.840.1", "MR", "b" * 64, 10, "s", "CT1")
    register(ledger, more, 22.0)
    assert [one.study_uid for one in receiving.open_studies(ledger)] == ["1.2.1"]
    asked = retractions.request(ledger, "1.2.1", RejectionReason.QUALITY, "Motion.", PACS, 23.0)
    assert asked == Answer(Requested.REQUESTED, ("2.25.1",))
