"""A delivered result is rejected by one note, and the same draft afterwards is another result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import dcmread
from support.drafting import NOW, PREPARED, Peer
from support.ledger import STUDY

from pirtad.worker.contract import JobMessage, Stage, StudyState
from pirtad.worker.errors import DestinationUnavailable, Permanent
from pirtad.worker.ledger import claiming, deliveries, operating, progress, retractions, views
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.rejection import RejectionReason
from pirtad.worker.sr.evidence import references


@pytest.fixture
def withdrawing(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, peer: Peer
) -> tuple[Pipeline, ClaimedJob]:
    """A delivered result that an operator withdraws, its job claimed for that."""
    pipeline = drafted()
    pipeline.deliver(claimed, NOW)
    progress.finish(database, claimed, pipeline.destination_names[0], 3.0)
    pipeline.forget(claimed)
    why = "The side is wrong."
    retractions.request(database, STUDY, RejectionReason.PATIENT_SAFETY, why, pipeline.destination_names[0], 1e9)
    again = claiming.claim(database, JobMessage(claimed.job_id, Stage.DELIVER), "me", 1e9, 1e9, lambda _: False)
    assert again is not None
    return pipeline, again


def test_a_withdrawn_result_is_rejected_by_one_note(
    withdrawing: tuple[Pipeline, ClaimedJob], database: Database, peer: Peer
) -> None:
    pipeline, job = withdrawing
    # Given a PACS that is away at first, and a worker that dies when it has sent the note
    peer.fails["retraction"] = DestinationUnavailable("no-connection", "no TCP connection")
    with pytest.raises(DestinationUnavailable):
        pipeline.deliver(job, NOW)
    kept = deliveries.kept_objects(database, job, pipeline.destination_names[0])["retraction"]
    peer.fails.clear()
    for _ in range(2):
        pipeline.deliver(job, NOW + timedelta(days=1))
    # Then the PACS got the result and the one note, as it was composed first
    assert peer.roles() == ["narrative", "measurements", "retraction"]
    assert hashlib.sha256(peer.sent[-1][2]).hexdigest() == kept.sha256
    note = dcmread(peer.sent[-1][1])
    rejected = {uid for *_, uid in references(note.CurrentRequestedProcedureEvidenceSequence)}
    assert rejected == {str(dcmread(path).SOPInstanceUID) for _, path, _ in peer.sent[:2]}
    assert (note.PatientID, note.StudyInstanceUID) == ("PID-1", STUDY)
    progress.finish(database, job, pipeline.destination_names[0], 2e9)
    (view,) = views.studies(database)
    assert view.state is StudyState.WITHDRAWN
    # The study's images are where they were
    assert all((pipeline._data_dir / file.path).is_file() for file in job.files)


def test_a_note_is_composed_again_the_same_when_its_file_was_spoilt(
    withdrawing: tuple[Pipeline, ClaimedJob], database: Database, tmp_path: Path, peer: Peer
) -> None:
    pipeline, job = withdrawing
    peer.fails["retraction"] = DestinationUnavailable("no-connection", "no TCP connection")
    with pytest.raises(DestinationUnavailable):
        pipeline.deliver(job, NOW)
    kept = deliveries.kept_objects(database, job, pipeline.destination_names[0])["retraction"]
    (tmp_path / kept.path).write_bytes(b"half")
    peer.fails.clear()
    pipeline.deliver(job, NOW + timedelta(days=1))
    assert hashlib.sha256(peer.sent[-1][2]).hexdigest() == kept.sha256


def test_nothing_is_rejected_that_was_delivered_as_other_bytes(
    withdrawing: tuple[Pipeline, ClaimedJob], tmp_path: Path, peer: Peer
) -> None:
    pipeline, job = withdrawing
    (peer.sent[0][1]).write_bytes(b"not what was sent")
    with pytest.raises(Permanent, match="narrative as it was delivered is no longer"):
        pipeline.deliver(job, NOW)
    assert peer.roles() == ["narrative", "measurements"]


def test_the_same_draft_after_a_withdrawal_is_another_result(
    withdrawing: tuple[Pipeline, ClaimedJob], database: Database, peer: Peer, tmp_path: Path
) -> None:
    # Given a withdrawn result
    pipeline, job = withdrawing
    pipeline.deliver(job, NOW)
    progress.finish(database, job, pipeline.destination_names[0], 2e9)
    withdrawn = [dcmread(path) for _, path, _ in peer.sent]
    # When the same engine drafts the same words from the same images
    message = operating.retry(database, STUDY, 2e9)
    anew = claiming.claim(database, message, "me", 2e9, 1e9, lambda _: False)
    assert anew is not None
    directory = tmp_path / "work" / anew.job_id
    directory.mkdir(parents=True)
    PREPARED.save(directory)
    pipeline.infer(anew)
    pipeline.deliver(anew, NOW)
    # Then both objects go out as new ones, in a series of their own, and claim no content of what is withdrawn
    assert peer.roles()[3:] == ["narrative", "measurements"]
    composed = [dcmread(path) for _, path, _ in peer.sent[3:]]
    for attribute in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert not {one[attribute].value for one in composed} & {one[attribute].value for one in withdrawn}
    assert not any("PredecessorDocumentsSequence" in one for one in composed)
    texts = [
        [item.TextValue for item in one.ContentSequence[-1].ContentSequence] for one in (withdrawn[0], composed[0])
    ]
    assert texts[0] == texts[1]
