"""The ledger's part of retention, on each kind of database."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import func, inspect, select
from support.ledger import STUDY, receive, received
from support.shipping import at_delivery

from pirtad.worker.contract import JobMessage, Stage
from pirtad.worker.ledger import claiming, deliveries, operating, progress, receiving, retention, retention_facts, views
from pirtad.worker.ledger import database as database_module
from pirtad.worker.ledger.database import Database, open_ledger
from pirtad.worker.ledger.deliveries import KeptObject
from pirtad.worker.ledger.registering import Registration
from pirtad.worker.ledger.rounds import Opened
from pirtad.worker.ledger.tables import Base, Instance, Removal
from pirtad.worker.retention import Kept, Why

NOW = 9000.0


def reported(database: Database, study_uid: str = STUDY) -> str:
    job = at_delivery(database, study_uid)
    kept = KeptObject("narrative", f"2.25.{abs(hash(study_uid))}", "0" * 64, "results/x.dcm")
    deliveries.keep(database, job, "PACS", [kept])
    deliveries.mark_delivered(database, job, "PACS", kept, 0x0000, 1001.0)
    progress.finish(database, job, "PACS", 1001.0)
    return job.job_id


def remove(database: Database, study_uid: str = STUDY, reason: Kept | None = None) -> retention.Removed | None:
    return retention.remove_images(database, study_uid, Why.AGE, NOW, lambda _facts: reason)


def test_removed_then_unlinked_then_there_again(database: Database) -> None:
    job_id = reported(database)
    assert remove(database, reason=Kept.NOTED) is None
    removed = remove(database)
    assert removed is not None
    assert (removed.files, removed.size_bytes) == (1, 1000)
    assert remove(database) is None
    # What is on record as removed is to be unlinked, until it was
    (one,) = retention.pending(database)
    with pytest.raises(OSError, match="disk"), retention.unlinking(database, one.removal_id, NOW):
        raise OSError("disk")
    with retention.unlinking(database, one.removal_id, NOW) as batch:
        assert (batch.paths, batch.ended_jobs, batch.is_last) == ((received(1).path,), (job_id,), True)
    assert retention.pending(database) == []
    assert retention_facts.studies_on_disk(database) == []
    # Received again it is a duplicate, of a study that is being received, and no second job
    assert receive(database, 1, now=NOW) == [Registration.DUPLICATE]
    with database.reading() as session:
        (row,) = session.scalars(select(Instance))
        assert (row.path, row.removed_at) == (received(1).path, None)
    (facts,) = retention_facts.studies_on_disk(database)
    assert (facts.is_open, facts.images) == (True, 1)
    assert receiving.open_job(database, STUDY, NOW) == (Opened.NOTHING_NEW, job_id)
    detail = views.study(database, STUDY)
    assert detail is not None
    assert detail.study.removed_at is None
    assert detail.study.duplicates == 1


def test_what_came_again_is_not_unlinked_by_a_removal_that_is_finished_late(database: Database) -> None:
    reported(database)
    removed = remove(database)
    assert removed is not None
    receive(database, 1, now=NOW)
    with retention.unlinking(database, removed.removal_id, NOW) as batch:
        assert batch.paths == ()
    with database.reading() as session:
        assert session.scalars(select(Instance.path)).one() == received(1).path


def test_many_files_go_in_several_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_FILES_AT_ONCE", 2)
    receive(database, *range(1, 6))
    receiving.open_job(database, STUDY, 1.0)
    removed = remove(database)
    assert removed is not None
    batches = []
    while not (batches and batches[-1].is_last):
        with retention.unlinking(database, removed.removal_id, NOW) as batch:
            batches.append(batch)
    assert [len(batch.paths) for batch in batches] == [2, 2, 1]


def test_a_job_that_is_taken_up_at_that_moment_keeps_its_images(database: Database) -> None:
    # Given studies on the shelf, each of which is retried while it is being forgotten
    outcomes: list[tuple[bool, bool]] = []
    for number in range(10):
        uid = f"{STUDY}.{number}"
        receive(database, 1, study_uid=uid)
        _, job_id = receiving.open_job(database, uid, 1.0)
        operating.cancel(database, uid, 2.0)
        barrier = threading.Barrier(2)
        done: dict[str, bool] = {}

        def retry(uid: str = uid, barrier: threading.Barrier = barrier, done: dict[str, bool] = done) -> None:
            barrier.wait()
            try:
                operating.retry(database, uid, NOW)
                done["retried"] = True
            except operating.NotPossible:
                done["retried"] = False

        thread = threading.Thread(target=retry)
        thread.start()
        barrier.wait()
        try:
            done["forgotten"] = retention.forget(database, uid, NOW) is not None
        except operating.NotPossible:
            done["forgotten"] = False
        thread.join()
        outcomes.append((done["retried"], done["forgotten"]))
        # Then a claim finds files exactly if the retry was first
        message = JobMessage(job_id, Stage.PREPARE)
        taken = claiming.claim(database, message, "me", NOW, 1e9, lambda _owner: False)
        assert (taken is not None) == done["retried"]
        with database.reading() as session:
            of_study = Instance.sop_instance_uid == f"{uid}.1.1"
            assert (session.scalars(select(Instance.removed_at).where(of_study)).one() is None) == done["retried"]
    assert all(retried != forgotten for retried, forgotten in outcomes)


def test_a_study_that_is_not_there_any_more_or_at_work_is_not_forgotten(database: Database) -> None:
    with pytest.raises(operating.NotPossible, match="no study"):
        retention.forget(database, "1.2.404", NOW)
    receive(database, 1)
    with pytest.raises(operating.NotPossible, match="receiving"):
        retention.forget(database, STUDY, NOW)
    receiving.open_job(database, STUDY, 1.0)
    with pytest.raises(operating.NotPossible, match="work under way"):
        retention.forget(database, STUDY, NOW)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Removal)) == 0


def test_the_schema_goes_there_and_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = open_ledger(url)
    reported(ledger)
    config = Config()
    config.set_main_option("script_location", str(Path(database_module.__file__).with_name("migrations")))
    with ledger.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
        assert "removals" not in inspect(connection).get_table_names()
        command.upgrade(config, "0007")
        assert "removals" in inspect(connection).get_table_names()
        command.upgrade(config, "head")
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert remove(ledger) is not None
    ledger.close()
