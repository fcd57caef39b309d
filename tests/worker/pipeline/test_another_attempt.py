"""A delivery that was cut short is taken up again, and no object becomes another one for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support.drafting import LATER, NO_COMMITMENT, NOW, Peer, forget_deliveries
from support.ledger import STUDY

from pirtad.worker.contract import JobMessage
from pirtad.worker.errors import DestinationUnavailable, Permanent
from pirtad.worker.ledger import claiming, deliveries, progress, views
from pirtad.worker.ledger.claiming import ClaimedJob, ClaimLost
from pirtad.worker.ledger.database import Database
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.settings import Settings


def test_a_crash_between_two_objects_sends_only_what_is_missing(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, tmp_path: Path, peer: Peer
) -> None:
    # Given a worker that dies when it has delivered the first object
    pipeline = drafted()
    peer.fails["measurements"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        pipeline.deliver(claimed, NOW)
    composed = deliveries.kept_objects(database, claimed, pipeline.destination_names[0])
    assert [(kept.role, kept.is_delivered) for kept in composed.values()] == [
        ("narrative", True),
        ("measurements", False),
    ]
    kept_bytes = (tmp_path / composed["measurements"].path).read_bytes()
    with pytest.raises(ValueError, match="lacks"):
        progress.finish(database, claimed, pipeline.destination_names[0], 2.0)
    # When another attempt is made a day later
    peer.fails.clear()
    drafted_later = Pipeline(Settings(storage={"data_dir": tmp_path}, pacs=NO_COMMITMENT), database)
    drafted_later.deliver(claimed, NOW + timedelta(days=1))
    # Then the first is not sent again and the second is the object of the first attempt, byte for byte
    assert peer.roles() == ["narrative", "measurements"]
    assert peer.sent[1][2] == kept_bytes
    progress.finish(database, claimed, pipeline.destination_names[0], 3.0)


def test_an_answer_that_was_lost_sends_the_same_bytes_again(
    drafted: Callable[..., Pipeline],
    claimed: ClaimedJob,
    database: Database,
    peer: Peer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a worker that dies after the peer stored the first object and before that is on record
    pipeline = drafted()
    with monkeypatch.context() as broken:
        broken.setattr(deliveries, "mark_delivered", dies)
        with pytest.raises(KeyboardInterrupt):
            pipeline.deliver(claimed, NOW)
    # When it is tried again
    pipeline.deliver(claimed, NOW + timedelta(days=1))
    # Then the peer was sent the same object twice and knew it
    assert peer.roles() == ["narrative", "narrative", "measurements"]
    assert peer.sent[0] == peer.sent[1]
    detail = views.study(database, STUDY)
    assert detail is not None
    assert [(sent.role, sent.status) for sent in detail.deliveries] == [("narrative", 0x0111), ("measurements", 0x0000)]


def dies(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_worker_that_was_stopped_past_its_lease_changes_neither_draft_nor_objects(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, tmp_path: Path, peer: Peer
) -> None:
    # Given a draft and its objects, on record and sent
    pipeline = drafted()
    pipeline.deliver(claimed, NOW)
    there = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.parent.name in (claimed.job_id, "results")}
    assert len(there) >= 4
    # When another worker has the job, and this one drafts and composes once more, at another moment
    message = JobMessage(claimed.job_id, claimed.stage)
    assert claiming.claim(database, message, "other", 2.0, 1e9, lambda _: True) is not None
    forget_deliveries(database)
    for late in (pipeline.infer, lambda job: pipeline.deliver(job, NOW + timedelta(minutes=1))):
        with pytest.raises(ClaimLost):
            late(claimed)
    # Then every file is as it was, and there is no other
    now = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.parent.name in (claimed.job_id, "results")}
    assert now == there


def test_a_destination_that_moved_gets_the_same_bytes(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, tmp_path: Path, peer: Peer
) -> None:
    # Given a result of which one part was delivered before the PACS moved
    pipeline = drafted()
    peer.fails["measurements"] = DestinationUnavailable("no-connection", "no TCP connection")
    with pytest.raises(DestinationUnavailable):
        pipeline.deliver(claimed, NOW)
    composed = {path: path.read_bytes() for path in (tmp_path / "results").glob("*.dcm")}
    # When it is delivered to the new address
    peer.fails.clear()
    moved = Pipeline(Settings(storage={"data_dir": tmp_path}, pacs={**NO_COMMITMENT, "port": 11999}), database)
    assert moved.destination_names[0] != pipeline.destination_names[0]
    moved.deliver(claimed, NOW + timedelta(days=1))
    # Then it gets both objects, as they were composed for the old one
    assert peer.roles() == ["narrative", "narrative", "measurements"]
    assert {path: content for _, path, content in peer.sent} == composed
    progress.finish(database, claimed, moved.destination_names[0], 3.0)


def test_without_its_draft_a_job_sends_what_is_kept_and_else_says_so(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, peer: Peer, tmp_path: Path
) -> None:
    # Given a job of which one object was refused, restored without its work directory
    peer.fails["measurements"] = DestinationUnavailable("no-connection", "away")
    pipeline = drafted()
    with pytest.raises(DestinationUnavailable):
        pipeline.deliver(claimed, NOW)
    pipeline.forget(claimed)
    # When the PACS is back, the kept bytes go out
    del peer.fails["measurements"]
    pipeline.deliver(claimed, LATER)
    assert peer.roles() == ["narrative", "measurements"]
    # And where nothing is kept either, a person has to know
    shutil.rmtree(tmp_path / "results")
    forget_deliveries(pipeline._database)
    with pytest.raises(Permanent, match="the draft is gone"):
        pipeline.deliver(claimed, NOW)
