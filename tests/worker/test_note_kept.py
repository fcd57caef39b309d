"""What a note warns of is not lost when another one is added to it."""

from __future__ import annotations

from support.ledger import STUDY, receive, received

from pirtad.worker.contract import JobMessage, Stage
from pirtad.worker.ledger import claiming, deliveries, progress, receiving, registering, retention, views
from pirtad.worker.ledger.database import Database


def test_a_replaced_image_is_warned_of_though_images_were_removed_since(database: Database) -> None:
    # Given a report, an image of which was replaced after it, and an operator who gave up the images
    receive(database, 1, 2)
    _, job_id = receiving.open_job(database, STUDY, 1.0)
    prepare = claiming.claim(database, JobMessage(job_id, Stage.PREPARE), "me", 2.0, 1e9, lambda _: False)
    assert prepare is not None
    progress.advance(database, prepare, Stage.DELIVER, 2.0)
    job = claiming.claim(database, JobMessage(job_id, Stage.DELIVER), "me", 2.0, 1e9, lambda _: False)
    assert job is not None
    kept = deliveries.KeptObject("narrative", "2.25.7", "a" * 64, "results/2.25.7.dcm")
    deliveries.keep(database, job, "PACS", [kept])
    deliveries.mark_delivered(database, job, "PACS", kept, 0, 3.0)
    progress.finish(database, job, "PACS", 3.0)
    registering.register(database, received(1, content="another patient"), 4.0)
    receiving.open_job(database, STUDY, 5.0)
    assert "REPLACED" in note(database)
    retention.forget(database, STUDY, 6.0)
    # When more images come, then both are told
    for number in (3, 4):
        receive(database, number, now=7.0)
        receiving.open_job(database, STUDY, 8.0)
        assert "REPLACED" in note(database)
        assert note(database).count("had been removed") == 1
    # and when all came again, what is true still
    receive(database, 1, 2, now=9.0)
    registering.register(database, received(1, content="another patient"), 9.0)
    receiving.open_job(database, STUDY, 10.0)
    assert "REPLACED" in note(database)
    assert "had been removed" not in note(database)


def note(database: Database) -> str:
    detail = views.study(database, STUDY)
    assert detail is not None
    return detail.study.note
