"""After a withdrawal a study is drafted anew, as another job."""

from __future__ import annotations

import pytest
from support.ledger import STUDY, receive
from support.retracting import alive, ask, deliver_note, request, take

from pirtad.worker.contract import JobMessage, Stage, StudyState
from pirtad.worker.ledger import operating, publishing, receiving, retractions, revisions, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.operating import NotPossible


def test_a_withdrawn_study_is_drafted_anew_on_all_its_images(database: Database, reported: JobMessage) -> None:
    # Given a withdrawn report, and an image that came since and was only noted
    request(database)
    deliver_note(database, reported, 21.0)
    receive(database, 3, now=30.0)
    assert receiving.open_job(database, STUDY, 31.0)[0] is receiving.Opened.LATE
    (view,) = views.studies(database)
    assert view.note == "1 image came after the report was withdrawn: kept, and not reported"
    # When an operator asks for another draft
    anew = operating.retry(database, STUDY, 40.0)
    # Then it is another job, on all three images, and tells which note came before it
    assert (anew.job_id != reported.job_id, anew.stage) == (True, Stage.PREPARE)
    claimed = take(database, anew, 41.0)
    assert len(claimed.files) == 3
    assert retractions.withdrawal_of(database, claimed) is None
    assert retractions.earlier_notes(database, claimed) == ("2.25.9",)
    (view,) = views.studies(database)
    assert (view.state, view.reason, view.note) == (StudyState.RUNNING, "", "")
    # and the same images again change nothing
    assert receiving.open_job(database, STUDY, 42.0) == (receiving.Opened.NOTHING_NEW, anew.job_id)
    # and nothing of it is delivered yet, so nothing is to be withdrawn
    with pytest.raises(NotPossible, match="not finished"):
        request(database, now=43.0)


def test_more_images_before_the_new_draft_is_composed_are_taken_up(database: Database, reported: JobMessage) -> None:
    request(database)
    deliver_note(database, reported, 21.0)
    anew = operating.retry(database, STUDY, 30.0)
    receive(database, 3, now=31.0)
    outcome, job_id = receiving.open_job(database, STUDY, 32.0)
    assert outcome is receiving.Opened.OPENED
    assert job_id not in (anew.job_id, reported.job_id)
    assert publishing.publishable(database, 33.0, alive) == [JobMessage(job_id, Stage.PREPARE)]


def test_a_draft_after_the_newest_report_was_withdrawn_revises_the_one_that_is_out(
    database: Database, revised: tuple[str, str]
) -> None:
    first, second = revised
    ask(database, second)
    deliver_note(database, JobMessage(second, Stage.DELIVER), 21.0)
    claimed = take(database, operating.retry(database, STUDY, 30.0), 31.0)
    background = revisions.background_of(database, claimed)
    assert background.revised is not None
    assert (background.revised.job_id, set(background.revised.objects)) == (first, {"narrative"})


def test_a_draft_after_all_reports_were_withdrawn_revises_nothing(database: Database, revised: tuple[str, str]) -> None:
    ask(database)
    deliver_note(database, JobMessage(revised[1], Stage.DELIVER), 21.0)
    claimed = take(database, operating.retry(database, STUDY, 30.0), 31.0)
    assert revisions.background_of(database, claimed).revised is None
