"""While a note is under way: another operator, and more images."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select
from support.ledger import STUDY, receive
from support.retracting import NOTE, PACS, WHY, ask, deliver_note, look, report, states, take

from pirtad.worker.contract import JobMessage, JobState, Stage
from pirtad.worker.ledger import deliveries, progress, receiving
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.retractions import Requested
from pirtad.worker.ledger.tables import Job, Retraction, Study


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
