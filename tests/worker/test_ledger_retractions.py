"""A delivered result is withdrawn once, and drafted anew as another job."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update
from support.ledger import STUDY, receive, received

from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger import (
    claiming,
    deliveries,
    looks,
    operating,
    priority,
    progress,
    publishing,
    receiving,
    retention,
    retractions,
    revisions,
    views,
)
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION, KeptObject
from pirtad.worker.ledger.looks import Counts, Seen
from pirtad.worker.ledger.operating import NotPossible
from pirtad.worker.ledger.registering import register
from pirtad.worker.ledger.retractions import Answer, Requested
from pirtad.worker.ledger.tables import Delivery, Job, Retraction, Study
from pirtad.worker.rejection import MAX_WORDS, RejectionReason

PACS = "ORTHANC@127.0.0.1:4242"
NARRATIVE = KeptObject("narrative", "2.25.7", "a" * 64, "results/2.25.7.dcm")
MEASUREMENTS = KeptObject("measurements", "2.25.8", "b" * 64, "results/2.25.8.dcm")
NOTE = KeptObject(RETRACTION, "2.25.9", "c" * 64, "results/2.25.9.dcm")
WHY = "The side is wrong."


def alive(_owner: str) -> bool:
    return False


def take(database: Database, message: JobMessage, now: float) -> ClaimedJob:
    claimed = claiming.claim(database, message, "worker", now, 30.0, alive)
    assert claimed is not None
    return claimed


def at_last_stage(database: Database, message: JobMessage, now: float) -> ClaimedJob:
    prepare = take(database, message, now)
    infer = take(database, progress.advance(database, prepare, Stage.INFER, now), now)
    progress.keep_report(database, infer, "anterior", "the report")
    return take(database, progress.advance(database, infer, Stage.DELIVER, now), now)


@pytest.fixture
def message(database: Database) -> JobMessage:
    receive(database, 1, 2)
    receiving.open_job(database, STUDY, 10.0)
    (ready,) = publishing.publishable(database, 10.0, alive)
    return ready


@pytest.fixture
def reported(database: Database, message: JobMessage) -> JobMessage:
    """A study whose report of two objects was delivered; returns its job at the last stage."""
    claimed = at_last_stage(database, message, 11.0)
    deliveries.keep(database, claimed, PACS, [NARRATIVE, MEASUREMENTS])
    for kept in (NARRATIVE, MEASUREMENTS):
        deliveries.mark_delivered(database, claimed, PACS, kept, 0x0000, 12.0)
    progress.finish(database, claimed, PACS, 13.0)
    return JobMessage(claimed.job_id, Stage.DELIVER)


def request(database: Database, words: str = WHY, now: float = 20.0, **changes: object) -> Requested:
    facts = {"reason": RejectionReason.PATIENT_SAFETY, "destination": PACS, "is_moved": False} | changes
    reason, destination, is_moved = facts["reason"], str(facts["destination"]), bool(facts["is_moved"])
    assert isinstance(reason, RejectionReason)
    return retractions.request(database, STUDY, reason, words, destination, now, is_moved=is_moved).requested


def deliver_note(database: Database, message: JobMessage, now: float) -> None:
    claimed = take(database, message, now)
    deliveries.keep(database, claimed, PACS, [NOTE])
    deliveries.mark_delivered(database, claimed, PACS, NOTE, 0x0000, now)
    progress.finish(database, claimed, PACS, now)


def state(database: Database) -> StudyState:
    (view,) = views.studies(database)
    return view.state


def test_a_request_brings_the_job_back_for_one_note(database: Database, reported: JobMessage) -> None:
    # When an operator withdraws what was delivered
    assert request(database) is Requested.REQUESTED
    # Then the dispatcher publishes the job at its last stage, and it says what it is about
    assert publishing.publishable(database, 20.0, alive) == [reported]
    assert state(database) is StudyState.WITHDRAWING
    claimed = take(database, reported, 21.0)
    assert state(database) is StudyState.WITHDRAWING
    withdrawal = retractions.withdrawal_of(database, claimed)
    assert withdrawal is not None
    assert (withdrawal.reason, withdrawal.words) == (RejectionReason.PATIENT_SAFETY, WHY)
    assert WHY not in repr(withdrawal)
    assert [kept.sop_instance_uid for kept in retractions.delivered_objects(database, claimed)] == ["2.25.7", "2.25.8"]
    # and waits like any other job while the PACS is down
    progress.defer(database, claimed, 40.0, "PACS down", 22.0, is_failure=False)
    assert state(database) is StudyState.WITHDRAWING
    # until the note has arrived
    deliver_note(database, reported, 41.0)
    (view,) = views.studies(database)
    assert (view.state, view.reason_code) == (StudyState.WITHDRAWN, "113037")
    assert view.reason == f"Rejected for Patient Safety Reasons: {WHY}"
    detail = views.study(database, STUDY)
    assert detail is not None
    assert detail.withdraws == ("2.25.7", "2.25.8")
    assert [(d.role, d.is_withdrawn) for d in detail.deliveries] == [
        ("narrative", True),
        ("measurements", True),
        ("retraction", False),
    ]
    kinds = [event.kind for event in detail.events]
    assert (kinds.count("withdrawal_requested"), kinds.count("withdrawn"), kinds.count("delivered")) == (1, 1, 1)
    # The operator's words are not in the event log, which metrics and logs are fed from
    assert WHY not in repr(detail.events)


def test_asked_again_nothing_happens(database: Database, reported: JobMessage) -> None:
    request(database)
    assert request(database, now=21.0) is Requested.UNDER_WAY
    deliver_note(database, reported, 22.0)
    assert request(database, now=23.0) is Requested.WITHDRAWN
    assert publishing.publishable(database, 1e6, alive) == []
    # and for another reason there is no second note
    for changes in ({"words": "Useless."}, {"reason": RejectionReason.QUALITY}):
        with pytest.raises(NotPossible, match="second note"):
            request(database, now=24.0, **changes)


def test_a_note_that_was_refused_is_sent_again_when_asked(database: Database, reported: JobMessage) -> None:
    request(database)
    for ask in (lambda: request(database, now=30.0), lambda: operating.retry(database, STUDY, 30.0)):
        claimed = take(database, reported, 21.0)
        progress.shelve(database, claimed, JobState.FAILED, "refused", "SOP class not supported", "allow it", 22.0)
        (view,) = views.studies(database)
        assert view.state is StudyState.FAILED
        assert view.reason == "the note that withdraws the report was not delivered: SOP class not supported"
        ask()
        assert state(database) is StudyState.WITHDRAWING
        assert publishing.publishable(database, 30.0, alive) == [reported]
    deliver_note(database, reported, 31.0)
    assert state(database) is StudyState.WITHDRAWN


def test_only_what_was_delivered_is_withdrawn(database: Database, message: JobMessage) -> None:
    # Given nothing delivered, then there is nothing to withdraw
    with pytest.raises(NotPossible, match="not finished"):
        request(database)
    claimed = at_last_stage(database, message, 11.0)
    deliveries.keep(database, claimed, PACS, [NARRATIVE, MEASUREMENTS])
    progress.shelve(database, claimed, JobState.FAILED, "refused", "not supported", "allow it", 12.0)
    with pytest.raises(NotPossible, match="nothing to withdraw"):
        request(database)
    # Given a part delivered, then that part is
    operating.retry(database, STUDY, 13.0)
    claimed = at_last_stage(database, message, 14.0)
    deliveries.mark_delivered(database, claimed, PACS, NARRATIVE, 0x0000, 15.0)
    progress.shelve(database, claimed, JobState.FAILED, "refused", "not supported", "allow it", 16.0)
    assert request(database) is Requested.REQUESTED
    claimed = take(database, JobMessage(claimed.job_id, Stage.DELIVER), 21.0)
    assert [kept.role for kept in retractions.delivered_objects(database, claimed)] == ["narrative"]
    # and what was not is no longer waited for
    deliveries.keep(database, claimed, PACS, [NOTE])
    deliveries.mark_delivered(database, claimed, PACS, NOTE, 0x0000, 22.0)
    progress.finish(database, claimed, PACS, 22.0)
    assert state(database) is StudyState.WITHDRAWN


def test_a_note_goes_where_the_objects_are(database: Database, reported: JobMessage) -> None:
    with pytest.raises(NotPossible, match=f"delivered to {PACS}"):
        request(database, destination="OTHER@10.0.0.1:104")
    assert state(database) is StudyState.REPORTED
    assert request(database, destination="OTHER@10.0.0.1:104", is_moved=True) is Requested.REQUESTED


@pytest.mark.parametrize("words", ["", " \n ", "x" * (MAX_WORDS + 1)])
def test_a_reason_is_words(database: Database, reported: JobMessage, words: str) -> None:
    with pytest.raises(ValueError, match="words"):
        request(database, words=words)


def test_a_withdrawal_is_not_called_back(database: Database, reported: JobMessage) -> None:
    request(database)
    with pytest.raises(NotPossible, match="not called back"):
        operating.cancel(database, STUDY, 21.0)


def test_what_is_not_known_is_not_withdrawn(database: Database) -> None:
    with pytest.raises(NotPossible, match="is known here"):
        request(database)


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


FIRST = KeptObject("narrative", "2.25.1", "d" * 64, "results/2.25.1.dcm")


def look(database: Database, *used: int) -> None:
    """A look that takes these images for the pair."""
    every = frozenset({f"{STUDY}.1"})
    uids = tuple(received(number).sop_instance_uid for number in used)
    seen = Seen(True, Counts.MET, uids, every, frozenset(), "", "")
    looks.keep_look(database, STUDY, looks.files_of(database, STUDY), seen, 5.0)


def report(database: Database, used: tuple[int, ...], now: float, *objects: KeptObject, to: str = PACS) -> str:
    """The job that is there drafts from these images and delivers these objects; returns its id."""
    receiving.open_job(database, STUDY, now)
    (message,) = publishing.publishable(database, now, alive)
    prepare = take(database, message, now)
    revisions.keep_used(database, prepare, [received(number).sop_instance_uid for number in used])
    infer = take(database, progress.advance(database, prepare, Stage.INFER, now), now)
    deliver = take(database, progress.advance(database, infer, Stage.DELIVER, now), now)
    deliveries.keep(database, deliver, to, objects)
    for kept in objects:
        deliveries.mark_delivered(database, deliver, to, kept, 0x0000, now)
    if objects:
        progress.finish(database, deliver, to, now)
    else:
        progress.shelve(database, deliver, JobState.FAILED, "refused", "not supported", "allow it", now)
    return deliver.job_id


@pytest.fixture
def first(database: Database) -> str:
    """The job of a delivered report, of which more images make another one."""
    receive(database, 1, 2)
    look(database, 1, 2)
    first = report(database, (1, 2), 10.0, FIRST)
    receive(database, 3, now=11.0)
    look(database, 1, 2, 3)
    return first


@pytest.fixture
def revised(database: Database, first: str) -> tuple[str, str]:
    """The jobs of a delivered report and of the delivered one that revises it."""
    return first, report(database, (1, 2, 3), 12.0, NARRATIVE, MEASUREMENTS)


def ask(database: Database, job_id: str | None = None, words: str = WHY, now: float = 20.0) -> Answer:
    return retractions.request(
        database, STUDY, RejectionReason.PATIENT_SAFETY, words, (PACS, OTHER), now, job_id=job_id
    )


OTHER = "OTHER@10.0.0.1:104"


def states(database: Database) -> dict[str, JobState]:
    with database.reading() as session:
        return {job.id: JobState(job.state) for job in session.scalars(select(Job))}


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


def test_two_operators_at_once_make_one_note(database: Database, revised: tuple[str, str]) -> None:
    first, second = revised
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: ask(database, now=20.0 + number), range(16)))
    assert Counter(answer.requested for answer in answers) == {Requested.REQUESTED: 1, Requested.UNDER_WAY: 15}
    assert {answer.withdraws for answer in answers} == {("2.25.1", "2.25.7", "2.25.8")}
    with database.reading() as session:
        rows = session.scalars(select(Retraction)).all()
        assert {(row.job_id, row.note_job_id) for row in rows} == {(first, second), (second, second)}


def test_a_withdrawal_and_more_images_at_once_do_not_wait_for_each_other(
    database: Database, revised: tuple[str, str]
) -> None:
    first, second = revised

    def bring(number: int) -> None:
        receive(database, 100 + number, now=30.0 + number)
        receiving.open_job(database, STUDY, 31.0 + number)

    with ThreadPoolExecutor(4) as pool:
        brought = [pool.submit(bring, number) for number in range(8)]
        asked = [pool.submit(ask, database, None, WHY, 30.0 + number) for number in range(4)]
        for future in (*brought, *asked):
            future.result(timeout=60)
    # Then no job was opened beside the note, and the images wait for a person or for the note
    assert set(states(database)) == {first, second}
    deliver_note(database, JobMessage(second, Stage.DELIVER), 50.0)
    assert set(states(database).values()) == {JobState.WITHDRAWN}


def test_a_report_that_was_in_time_is_not_overdue_for_being_withdrawn(database: Database, reported: JobMessage) -> None:
    with database.transaction() as session:
        session.execute(update(Job).values(images_at=10.0, due_at=100.0))
    request(database, now=200.0)
    assert priority.mark_missed(database, 300.0) == []


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


def test_more_images_wait_for_a_note_about_an_earlier_report(database: Database, revised: tuple[str, str]) -> None:
    # Given a note on its way about the report that was revised, and another image of the pair
    first, second = revised
    ask(database, first)
    receive(database, 4, now=21.0)
    look(database, 1, 2, 3, 4)
    claimed = take(database, JobMessage(first, Stage.DELIVER), 22.0)
    deliveries.keep(database, claimed, PACS, [NOTE])
    # Then the round is held, before the note is sent and while it is, and nothing is opened beside it
    assert receiving.open_job(database, STUDY, 23.0) == (receiving.Opened.HELD, first)
    (study,) = receiving.open_studies(database)
    assert study.standing is receiving.Standing.DELIVERING
    assert states(database) == {first: JobState.RUNNING, second: JobState.DONE}
    deliveries.mark_delivered(database, claimed, PACS, NOTE, 0x0000, 24.0)
    progress.finish(database, claimed, PACS, 24.0)
    assert states(database)[first] is JobState.WITHDRAWN
    # and the images are taken up afterwards
    outcome, third = receiving.open_job(database, STUDY, 25.0)
    assert (outcome, states(database)[third]) == (receiving.Opened.REVISED, JobState.QUEUED)


def test_more_images_wait_for_a_note_though_the_revision_failed(database: Database, first: str) -> None:
    second = report(database, (1, 2, 3), 12.0)  # which fails
    ask(database)
    receive(database, 4, now=21.0)
    look(database, 1, 2, 3, 4)
    assert receiving.open_job(database, STUDY, 22.0) == (receiving.Opened.HELD, first)
    assert states(database) == {first: JobState.QUEUED, second: JobState.FAILED}
    deliver_note(database, JobMessage(first, Stage.DELIVER), 23.0)
    assert receiving.open_job(database, STUDY, 24.0)[0] is not receiving.Opened.HELD
    assert states(database)[first] is JobState.WITHDRAWN


def test_a_job_that_delivers_a_note_is_not_superseded(database: Database, revised: tuple[str, str]) -> None:
    first, second = revised
    ask(database, first)
    with database.transaction() as session:
        study = session.scalars(select(Study)).one()
        receiving._supersede(session, study, session.scalars(select(Job)).all(), 21.0)
    assert states(database) == {first: JobState.QUEUED, second: JobState.DONE}


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
