"""A note that was given up: what may be asked for next, and what the study goes on telling."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update
from support.ledger import STUDY, received
from support.retracting import NOTE, PACS, ask, deliver_note, take

from pirtad.worker.contract import JobMessage, JobState, Stage
from pirtad.worker.ledger import deliveries, progress, receiving, retention, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION
from pirtad.worker.ledger.operating import NotPossible
from pirtad.worker.ledger.registering import register
from pirtad.worker.ledger.retractions import Answer, Requested
from pirtad.worker.ledger.tables import Delivery, Study


def test_where_one_note_can_not_be_made_each_report_is_withdrawn_by_its_name(
    database: Database, revised: tuple[str, str]
) -> None:
    first, second = revised
    # Given a note about both that a worker could not make
    ask(database)
    claimed = take(database, JobMessage(second, Stage.DELIVER), 21.0)
    progress.shelve(database, claimed, JobState.FAILED, "patient-mismatch", "two patients", "", 22.0)
    # Then each gets one of its own
    assert ask(database, second, "Other words.", 23.0) == Answer(Requested.REQUESTED, ("2.25.7", "2.25.8"))
    deliver_note(database, JobMessage(second, Stage.DELIVER), 24.0)
    assert ask(database, first, now=25.0).withdraws == ("2.25.1",)


def test_a_note_that_may_have_arrived_is_the_only_one(database: Database, revised: tuple[str, str]) -> None:
    first, second = revised
    ask(database)
    claimed = take(database, JobMessage(second, Stage.DELIVER), 21.0)
    deliveries.keep(database, claimed, PACS, [NOTE])
    deliveries.mark_tried(database, claimed, PACS, NOTE, 21.0)
    progress.shelve(database, claimed, JobState.FAILED, "refused", "not supported", "", 22.0)
    with pytest.raises(NotPossible, match="second note"):
        ask(database, first, "Other words.", 23.0)
    assert ask(database, first, now=23.0) == Answer(Requested.AGAIN, ("2.25.1", "2.25.7", "2.25.8"))


@pytest.mark.parametrize("named", [0, 1])
def test_a_note_about_all_that_was_given_up_is_not_sent_for_one_report(
    database: Database, revised: tuple[str, str], named: int
) -> None:
    # Given a composed note about both reports, given up before it was sent
    note_job = revised[1]
    ask(database)
    claimed = take(database, JobMessage(note_job, Stage.DELIVER), 21.0)
    deliveries.keep(database, claimed, PACS, [NOTE])
    progress.shelve(database, claimed, JobState.FAILED, "full", "no room", "", 22.0)
    # When one report alone is withdrawn
    ask(database, revised[named], now=23.0)
    # Then no job has that note on record any more, and the objects' deliveries are as they were
    with database.reading() as session:
        rows = session.scalars(select(Delivery)).all()
        assert {row.sop_instance_uid for row in rows} == {"2.25.1", "2.25.7", "2.25.8"}
    claimed = take(database, JobMessage(revised[named], Stage.DELIVER), 24.0)
    assert RETRACTION not in deliveries.composed_objects(database, claimed)


WARNING = "1 image REPLACED after the report was drafted: check that the draft still belongs to this patient"


def test_a_warning_about_the_patient_outlives_a_note_that_was_given_up(
    database: Database, revised: tuple[str, str]
) -> None:
    first, _ = revised
    with database.transaction() as session:
        session.execute(update(Study).values(note=WARNING))
    for now in (20.0, 30.0):
        ask(database, first, now=now)
        (view,) = views.studies(database)
        assert view.note == WARNING
        claimed = take(database, JobMessage(first, Stage.DELIVER), now + 1)
        progress.shelve(database, claimed, JobState.FAILED, "refused", "not supported; at all", "allow it", now + 2)
        (view,) = views.studies(database)
        assert view.note == (
            f"{WARNING}; of an earlier report, the note that withdraws the report was not delivered: "
            "not supported; at all; `pirtad retract` again"
        )
    # And images that come later tell of themselves beside it
    register(database, received(1, content="another"), 40.0)
    assert receiving.open_job(database, STUDY, 41.0)[0] is receiving.Opened.LATE
    (view,) = views.studies(database)
    assert view.note.startswith(WARNING)
    assert view.note.endswith("not supported; at all; `pirtad retract` again")
    ask(database, first, now=50.0)
    deliver_note(database, JobMessage(first, Stage.DELIVER), 51.0)
    (view,) = views.studies(database)
    assert view.note == WARNING


def test_results_are_kept_while_a_note_about_them_is_not_out(database: Database, revised: tuple[str, str]) -> None:
    # Given a study whose images were removed, and the note about its earlier report given up
    first, _ = revised
    ask(database, first)
    claimed = take(database, JobMessage(first, Stage.DELIVER), 21.0)
    progress.shelve(database, claimed, JobState.FAILED, "refused", "not supported", "allow it", 22.0)
    with database.transaction() as session:
        session.execute(update(Study).values(removed_at=23.0))
    # Then the objects that it is made from stay
    assert retention.remove_results(database, 1e6, 1e6) == []
    ask(database, first, now=24.0)
    deliver_note(database, JobMessage(first, Stage.DELIVER), 25.0)
    assert [one.study_uid for one in retention.remove_results(database, 1e6, 1e6)] == [STUDY]
