"""A report and the one that revises it are withdrawn together, or each by its name."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from support.ledger import STUDY
from support.retracting import (
    MEASUREMENTS,
    NARRATIVE,
    NOTE,
    OTHER,
    PACS,
    WHY,
    alive,
    ask,
    deliver_note,
    report,
    state,
    states,
    take,
)

from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger import deliveries, operating, progress, publishing, retractions, revisions, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.operating import NotPossible
from pirtad.worker.ledger.retractions import Answer, Requested
from pirtad.worker.ledger.tables import Delivery
from pirtad.worker.rejection import RejectionReason


def test_one_note_withdraws_a_report_and_the_one_that_it_revises(database: Database, revised: tuple[str, str]) -> None:
    first, second = revised
    # Given the operator is shown all that was delivered, and which of it is of which result
    found = retractions.withdrawable(database, STUDY)
    assert found is not None
    assert (found.job_ids, found.results) == ((second, first), (first, second, second))
    # When the study's report is withdrawn
    answer = ask(database)
    assert answer == Answer(Requested.REQUESTED, ("2.25.1", "2.25.7", "2.25.8"))
    # Then one job delivers one note about all of it
    assert publishing.publishable(database, 20.0, alive) == [JobMessage(second, Stage.DELIVER)]
    claimed = take(database, JobMessage(second, Stage.DELIVER), 21.0)
    named = [kept.sop_instance_uid for kept in retractions.delivered_objects(database, claimed)]
    assert named == ["2.25.1", "2.25.7", "2.25.8"]
    assert ask(database, now=22.0) == Answer(Requested.UNDER_WAY, answer.withdraws)
    # and neither is withdrawn before it has arrived, and both are once it has
    assert states(database)[first] is JobState.DONE
    deliveries.keep(database, claimed, PACS, [NOTE])
    deliveries.mark_delivered(database, claimed, PACS, NOTE, 0x0000, 23.0)
    progress.finish(database, claimed, PACS, 23.0)
    assert states(database) == {first: JobState.WITHDRAWN, second: JobState.WITHDRAWN}
    assert state(database) is StudyState.WITHDRAWN
    detail = views.study(database, STUDY)
    assert detail is not None
    assert detail.withdraws == answer.withdraws
    assert ask(database, now=24.0) == Answer(Requested.WITHDRAWN, answer.withdraws)
    assert publishing.publishable(database, 1e6, alive) == []


def test_a_note_about_several_reports_goes_wherever_any_of_them_is(database: Database, first: str) -> None:
    second = report(database, (1, 2, 3), 12.0, NARRATIVE, to=OTHER)
    ask(database)
    claimed = take(database, JobMessage(second, Stage.DELIVER), 21.0)
    assert set(deliveries.destinations_with(database, claimed)) == {PACS, OTHER}


def test_an_earlier_report_is_withdrawn_behind_the_one_that_holds(database: Database, revised: tuple[str, str]) -> None:
    first, second = revised
    # When the earlier report alone is withdrawn
    assert ask(database, first) == Answer(Requested.REQUESTED, ("2.25.1",))
    # Then the study goes on showing the report that holds
    claimed = take(database, JobMessage(first, Stage.DELIVER), 21.0)
    assert state(database) is StudyState.REPORTED
    # but for a note that does not arrive, which a person must know of
    progress.shelve(database, claimed, JobState.FAILED, "refused", "not supported", "allow it", 22.0)
    (view,) = views.studies(database)
    assert view.state is StudyState.REPORTED
    assert "of an earlier report, the note that withdraws the report was not delivered: not supported" in view.note
    assert ask(database, first).requested is Requested.AGAIN
    deliver_note(database, JobMessage(first, Stage.DELIVER), 23.0)
    (view,) = views.studies(database)
    assert (view.state, view.note) == (StudyState.REPORTED, "")
    assert states(database) == {first: JobState.WITHDRAWN, second: JobState.DONE}
    # and later the other one too, by a note that names it alone
    assert ask(database, words="Another reason.", now=30.0) == Answer(Requested.REQUESTED, ("2.25.7", "2.25.8"))


def test_the_newest_report_alone_is_withdrawn_by_its_name_and_the_rest_later(
    database: Database, revised: tuple[str, str]
) -> None:
    first, second = revised
    assert ask(database, second).withdraws == ("2.25.7", "2.25.8")
    with pytest.raises(NotPossible, match="is being withdrawn: wait"):
        ask(database, first)
    deliver_note(database, JobMessage(second, Stage.DELIVER), 21.0)
    assert states(database) == {first: JobState.DONE, second: JobState.WITHDRAWN}
    assert ask(database, now=30.0) == Answer(Requested.REQUESTED, ("2.25.1",))
    # and the study does not forget meanwhile that the newest one is withdrawn
    assert state(database) is StudyState.WITHDRAWN


def test_a_report_is_withdrawn_though_its_revision_never_arrived(database: Database, first: str) -> None:
    # Given a revision that failed before anything of it was delivered
    second = report(database, (1, 2, 3), 12.0)
    # When the study's report is withdrawn
    assert ask(database) == Answer(Requested.REQUESTED, ("2.25.1",))
    deliver_note(database, JobMessage(first, Stage.DELIVER), 21.0)
    assert (states(database)[first], state(database)) == (JobState.WITHDRAWN, StudyState.FAILED)
    # Then the failed one, tried again, is another try and revises nothing
    operating.retry(database, STUDY, 30.0)
    claimed = take(database, publishing.publishable(database, 30.0, alive)[0], 30.0)
    assert claimed.job_id == second
    assert revisions.background_of(database, claimed).revised is None


def test_a_report_whose_kept_objects_were_removed_is_not_withdrawn_in_silence(
    database: Database, revised: tuple[str, str]
) -> None:
    first, second = revised
    with database.transaction() as session:
        session.execute(update(Delivery).where(Delivery.job_id == first).values(removed_at=15.0))
    with pytest.raises(NotPossible, match=f"kept objects of job {first} were removed"):
        ask(database)
    assert ask(database, second).requested is Requested.REQUESTED


def test_a_job_of_another_study_is_not_withdrawn_with_this_one(database: Database, revised: tuple[str, str]) -> None:
    with pytest.raises(NotPossible, match="has no job"):
        ask(database, "another")


def test_only_what_the_operator_was_shown_is_withdrawn(database: Database, first: str) -> None:
    # Given an operator who was shown the first report, and one that revises it is delivered before the answer
    def agree(*shown: str, job_id: str | None = None) -> Answer:
        code = RejectionReason.PATIENT_SAFETY
        return retractions.request(database, STUDY, code, WHY, PACS, 20.0, job_id=job_id, expected=shown)

    found = retractions.withdrawable(database, STUDY)
    assert found is not None
    shown = [one.sop_instance_uid for one in found.objects]
    second = report(database, (1, 2, 3), 12.0, NARRATIVE, MEASUREMENTS)
    before = states(database)
    # Then nothing is withdrawn, nor by one who was shown nothing
    for seen in (shown, []):
        with pytest.raises(NotPossible, match="ask again"):
            agree(*seen)
    assert states(database) == before
    # but once it was shown, in whatever order
    assert agree("2.25.8", "2.25.1", "2.25.7").requested is Requested.REQUESTED
    # and a note about more that was given up meanwhile is not sent again by who was shown less
    claimed = take(database, JobMessage(second, Stage.DELIVER), 21.0)
    deliveries.keep(database, claimed, PACS, [NOTE])
    deliveries.mark_tried(database, claimed, PACS, NOTE, 21.0)
    progress.shelve(database, claimed, JobState.FAILED, "refused", "not supported", "", 22.0)
    with pytest.raises(NotPossible, match="ask again"):
        agree("2.25.1", job_id=first)
    assert states(database)[second] is JobState.FAILED
    assert agree().requested is Requested.AGAIN
