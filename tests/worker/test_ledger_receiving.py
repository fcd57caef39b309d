from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from support.ledger import STUDY, new_ledger, receive, received

from pirtad.worker.contract import JobState, Stage, StudyState
from pirtad.worker.ledger import claiming, deliveries, operating, progress, publishing, receiving, registering, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.receiving import Opened
from pirtad.worker.ledger.registering import Registration


def never_dead(_owner: str) -> bool:
    return False


def run_to_the_end(database: Database, job_id: str, now: float) -> None:
    (message,) = [m for m in publishing.publishable(database, now, never_dead) if m.job_id == job_id]
    while True:
        claimed = claiming.claim(database, message, "worker", now, 30, never_dead)
        assert claimed is not None
        if claimed.stage is Stage.DELIVER:
            kept = deliveries.KeptObject("narrative", "2.25.1", "0" * 64, "results/2.25.1.dcm")
            deliveries.keep(database, claimed, "PACS", [kept])
            deliveries.mark_delivered(database, claimed, "PACS", kept, 0x0000, now)
            progress.finish(database, claimed, "PACS", now)
            return
        following = {Stage.PREPARE: Stage.INFER, Stage.INFER: Stage.DELIVER}[claimed.stage]
        message = progress.advance(database, claimed, following, now)


def test_the_first_image_opens_a_study(database: Database) -> None:
    assert receive(database, 1, 2, now=5.0) == [Registration.NEW, Registration.NEW]

    (study,) = receiving.open_studies(database)
    assert (study.study_uid, study.calling_ae, study.open_since, study.last_received_at) == (STUDY, "SCANNER", 5.0, 5.0)
    (view,) = views.studies(database)
    assert (view.state, view.images, view.series) == (StudyState.RECEIVING, 2, 1)


def test_images_of_one_study_may_come_at_the_same_moment(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: registering.register(database, received(n % 20), 0.0), range(40)))
    assert (found.count(Registration.NEW), found.count(Registration.DUPLICATE)) == (20, 20)
    (view,) = views.studies(database)
    assert (view.images, view.series) == (20, 1)


def test_the_same_bytes_again_are_a_duplicate_and_open_nothing(database: Database) -> None:
    receive(database, 1, now=0.0)
    receiving.open_job(database, STUDY, 20.0)

    assert receive(database, 1, now=30.0) == [Registration.DUPLICATE]

    assert receiving.open_studies(database) == []
    (view,) = views.studies(database)
    assert (view.images, view.duplicates) == (1, 1)


def test_the_same_uid_with_other_bytes_is_kept_and_the_newest_is_used(database: Database) -> None:
    receive(database, 1, now=0.0)
    assert registering.register(database, received(1, content="other"), 1.0) is Registration.CONFLICT

    _, job_id = receiving.open_job(database, STUDY, 20.0)
    (message,) = publishing.publishable(database, 20.0, never_dead)
    claimed = claiming.claim(database, message, "worker", 20.0, 30, never_dead)

    assert claimed is not None
    assert claimed.job_id == job_id
    assert [file.sha256 for file in claimed.files] == [received(1, content="other").sha256]
    detail = views.study(database, STUDY)
    assert detail is not None
    assert "conflict" in [event.kind for event in detail.events]


def test_the_same_content_is_one_job(database: Database) -> None:
    receive(database, 1, 2)
    first = receiving.open_job(database, STUDY, 10.0)
    again = receiving.open_job(database, STUDY, 11.0)

    assert first[0] is Opened.OPENED
    assert again == (Opened.NOTHING_NEW, first[1])


def test_images_that_come_before_the_report_is_composed_supersede_the_job(database: Database) -> None:
    # Given a job under way
    receive(database, 1)
    _, old = receiving.open_job(database, STUDY, 10.0)
    (message,) = publishing.publishable(database, 10.0, never_dead)
    claimed = claiming.claim(database, message, "worker", 10.0, 30, never_dead)
    assert claimed is not None

    # When another image comes and the study is complete again
    receive(database, 2, now=11.0)
    opened, new = receiving.open_job(database, STUDY, 30.0)

    # Then the new job has both images, and the old one's worker has lost its claim
    assert opened is Opened.OPENED
    assert new != old
    with pytest.raises(claiming.ClaimLost):
        progress.advance(database, claimed, Stage.INFER, 31.0)
    assert [m.job_id for m in publishing.publishable(database, 31.0, never_dead)] == [new]


def test_images_after_the_report_are_kept_and_noted_and_make_no_second_report(database: Database) -> None:
    receive(database, 1)
    _, job_id = receiving.open_job(database, STUDY, 10.0)
    run_to_the_end(database, job_id, 10.0)

    receive(database, 2, now=50.0)
    assert receiving.open_job(database, STUDY, 70.0) == (Opened.LATE, job_id)

    assert publishing.publishable(database, 80.0, never_dead) == []
    (view,) = views.studies(database)
    assert view.state is StudyState.REPORTED
    assert view.note == "1 image came after the report was drafted: kept, and not reported"


def test_images_that_were_replaced_after_the_report_are_a_warning(database: Database) -> None:
    # Given a report, and then the same image with another header: a corrected patient, say
    receive(database, 1)
    _, job_id = receiving.open_job(database, STUDY, 10.0)
    run_to_the_end(database, job_id, 10.0)
    registering.register(database, received(1, content="corrected"), 50.0)

    assert receiving.open_job(database, STUDY, 70.0) == (Opened.LATE, job_id)

    (view,) = views.studies(database)
    assert "1 image REPLACED after the report was drafted: check" in view.note


def test_a_cancelled_study_stays_cancelled_when_more_images_come(database: Database) -> None:
    receive(database, 1)
    _, job_id = receiving.open_job(database, STUDY, 10.0)
    operating.cancel(database, STUDY, 11.0)
    receive(database, 2, now=50.0)

    assert receiving.open_job(database, STUDY, 70.0) == (Opened.LATE, job_id)

    assert publishing.publishable(database, 80.0, never_dead) == []
    (view,) = views.studies(database)
    assert (view.state, view.note) == (
        StudyState.CANCELLED,
        "1 image came after the study was cancelled: kept, and not reported",
    )


def test_claiming_and_receiving_at_once_do_not_wait_for_each_other(database: Database) -> None:
    # Given a worker that claims and defers while images go on coming, round after round
    receive(database, 0)
    receiving.open_job(database, STUDY, 0.0)

    def work(now: float) -> None:
        for message in publishing.publishable(database, now, never_dead):
            claimed = claiming.claim(database, message, "worker", now, 30, never_dead)
            if claimed is not None:
                with suppress(claiming.ClaimLost):
                    progress.defer(database, claimed, now, "again", now, is_failure=False)

    def arrive(number: float) -> None:
        receive(database, int(number), now=number)
        receiving.open_job(database, STUDY, number)

    # Then neither ends in a deadlock
    with ThreadPoolExecutor(4) as pool:
        rounds = [pool.submit(act, float(number)) for number in range(1, 31) for act in (work, arrive)]
        for one in rounds:
            one.result()


def test_more_images_for_a_study_that_was_set_aside_try_again(database: Database) -> None:
    # Given a study set aside for want of an ADC
    receive(database, 1)
    receiving.open_job(database, STUDY, 10.0)
    (message,) = publishing.publishable(database, 10.0, never_dead)
    claimed = claiming.claim(database, message, "worker", 10.0, 30, never_dead)
    assert claimed is not None
    progress.shelve(database, claimed, JobState.SET_ASIDE, "no_adc", "no ADC series", "send it", 11.0)

    # When the ADC arrives
    receive(database, 2, now=60.0)
    opened, _ = receiving.open_job(database, STUDY, 80.0)

    # Then a job on all images is queued and the old reason is gone
    assert opened is Opened.OPENED
    (view,) = views.studies(database)
    assert (view.state, view.reason) == (StudyState.QUEUED, "")


def test_registration_survives_a_second_process(tmp_path: Path) -> None:
    first = new_ledger(tmp_path)
    receive(first, 1)
    second = new_ledger(tmp_path)
    assert [study.study_uid for study in receiving.open_studies(second)] == [STUDY]
    first.close()
    second.close()
