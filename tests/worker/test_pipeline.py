"""From a prepared study to its document: what the stages hand on, and which document it becomes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)
from sqlalchemy import delete
from support.ledger import STUDY, new_ledger, received

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.agreement import Agreement
from pirtad.inference.lesion.analysis import Analysis
from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.report.report import Provenance, Registry, Report, SimilarCase
from pirtad.inference.volume import DiffusionPair, Volume
from pirtad.worker import targets as targets_module
from pirtad.worker.contract import JobMessage, Stage, StudyState
from pirtad.worker.deliver import Destination, Outcome
from pirtad.worker.errors import DestinationRefused, DestinationUnavailable, NonConformant, Permanent
from pirtad.worker.ledger import (
    claiming,
    deliveries,
    operating,
    progress,
    publishing,
    receiving,
    registering,
    retractions,
    views,
)
from pirtad.worker.ledger.claiming import ClaimedJob, ClaimLost
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.shipment_rows import restart_all
from pirtad.worker.ledger.tables import Delivery, Shipment
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.rejection import RejectionReason
from pirtad.worker.settings import Settings
from pirtad.worker.sr.documents import DOCUMENTS, Result
from pirtad.worker.sr.evidence import references
from pirtad.worker.sr.identity import SrIdentity
from pirtad.worker.sr.narrative import compose_narrative

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)  # more than any backoff
NO_COMMITMENT: dict[str, object] = {"commitment": "off"}
ROLES = {
    BasicTextSRStorage: "narrative",
    Comprehensive3DSRStorage: "measurements",
    SecondaryCaptureImageStorage: "picture",
    KeyObjectSelectionDocumentStorage: "retraction",
}
NOTE = "The ADC map was computed by pirtad from b 0 and 1000 s/mm2."
UNWEIGHTED, WEIGHTED, UNUSED = (f"{STUDY}.1.{number}" for number in (1, 2, 3))
MASK = np.arange(2 * 3 * 5).reshape(2, 3, 5) % 7 == 0
RULE = {"description": "^ax dwi", "kind": "trace"}


class Drafting:
    """An engine that drafts one same report, with the notes of the study it is given."""

    def draft(self, prepared: Prepared) -> tuple[Report, Analysis]:
        finding = "There is mild diffusion restriction."
        agreed = Agreement(Territory.ANTERIOR, Territory.ANTERIOR, None, ())
        report = Report(
            territory=Territory.ANTERIOR,
            clinical_presentation="Weakness.",
            nihss="7",
            past_medical_history="None.",
            findings=finding,
            impression="Acute infarction.",
            similar=(SimilarCase("c-1", 0.9, Territory.ANTERIOR, finding),),
            provenance=Provenance("vit", "a" * 64, "1", "b" * 64, "lm", "c" * 64, "d" * 64, "0.1.0"),
            image_notes=prepared.image_notes,
        )
        return report, Analysis({}, report.similar, None, None, MASK, agreed)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    ledger = new_ledger(tmp_path)
    yield ledger
    ledger.close()


@pytest.fixture
def claimed(database: Database, tmp_path: Path) -> ClaimedJob:
    """A claimed job on three images that lie in the spool."""
    (tmp_path / "spool").mkdir()
    for number in (1, 2, 3):
        registered = received(number)
        write_image(tmp_path / registered.path, registered.sop_instance_uid, number)
        digest = hashlib.sha256((tmp_path / registered.path).read_bytes()).hexdigest()
        registering.register(database, replace(registered, sha256=digest), 0.0)
    receiving.open_job(database, STUDY, 1.0)
    (message,) = publishing.publishable(database, 1.0, lambda _: False)
    job = claiming.claim(database, message, "me", 1.0, 1e9, lambda _: False)
    assert job is not None
    assert job.stage is Stage.PREPARE
    return job


def write_image(path: Path, sop_instance_uid: str, series: int) -> None:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, sop_instance_uid
    image.StudyInstanceUID, image.SeriesInstanceUID = STUDY, f"{STUDY}.1"
    image.PatientID, image.PatientName, image.SeriesNumber = "PID-1", "Specimen^Ada", series
    image.ensure_file_meta()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, image, enforce_file_format=True)


@dataclass
class Peer:
    """A destination that stores what it is sent, but for the roles that it answers with an error or dies at."""

    sent: list[tuple[str, Path, bytes]] = field(default_factory=list)
    fails: dict[str, BaseException] = field(default_factory=dict)

    def send(self, path: Path, _destination: Destination) -> Outcome:
        role = ROLES[dcmread(path, stop_before_pixels=True).SOPClassUID]
        if role in self.fails:
            raise self.fails[role]
        again = any(path == earlier for _, earlier, _ in self.sent)
        self.sent.append((role, path, path.read_bytes()))
        return Outcome(0x0111 if again else 0x0000)

    def roles(self) -> list[str]:
        return [role for role, *_ in self.sent]


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Peer:
    made = Peer()
    monkeypatch.setattr(targets_module, "send", made.send)
    return made


NETWORK_INPUT = NetworkInput(np.zeros((2, *SHAPE), np.float32), np.zeros(SHAPE, bool), np.eye(4))
PREPARED = Prepared(NETWORK_INPUT, Registry(), 1000.0, (WEIGHTED,), (UNWEIGHTED, WEIGHTED), True, (NOTE,))


@pytest.fixture
def drafted(database: Database, claimed: ClaimedJob, tmp_path: Path) -> Callable[..., Pipeline]:
    """A pipeline that has drafted the claimed job's report under some [series] settings."""

    def run(prepared: Prepared = PREPARED, pacs: dict[str, object] | None = None, **series: object) -> Pipeline:
        settings = Settings(storage={"data_dir": tmp_path}, series=series, pacs={**NO_COMMITMENT, **(pacs or {})})
        pipeline = Pipeline(settings, database)
        pipeline.__dict__["engine"] = Drafting()  # where the cached property keeps it
        directory = tmp_path / "work" / claimed.job_id
        directory.mkdir(parents=True, exist_ok=True)
        prepared.save(directory)
        pipeline.infer(claimed)
        return pipeline

    return run


@pytest.fixture
def documented(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, tmp_path: Path, peer: Peer
) -> Callable[..., list[Path]]:
    """Drafts, composes and delivers under some [series] settings; returns the paths of what was composed."""

    def run(**series: object) -> list[Path]:
        pipeline = drafted(**series)
        pipeline.deliver(claimed, NOW)
        composed = deliveries.kept_objects(database, claimed, pipeline.destination_names[0])
        forget_deliveries(database)
        return [tmp_path / kept.path for kept in composed.values()]

    return run


def forget_deliveries(database: Database) -> None:
    """As if nothing had been delivered: another draft may be made."""
    with database.transaction() as session:
        session.execute(delete(Delivery))
        session.execute(delete(Shipment))


def start_again(database: Database, claimed: ClaimedJob) -> None:
    """As `pirtad retry` does with what each destination was waiting for."""
    with database.transaction() as session:
        restart_all(session, claimed.job_id)


def test_notes_and_a_computed_map_reach_the_narrative(documented: Callable[..., list[Path]]) -> None:
    document = dcmread(documented()[0])
    texts = [item.TextValue for item in document.ContentSequence[-1].ContentSequence]
    assert texts[1] == NOTE
    assert "map that pirtad computed from series 1 and 2, 2 images" in texts[2]
    listed = [uid for *_, uid in references(document.CurrentRequestedProcedureEvidenceSequence)]
    assert sorted(listed) == [UNWEIGHTED, WEIGHTED]
    assert UNUSED not in listed


def test_a_result_is_two_objects_of_one_series(documented: Callable[..., list[Path]], peer: Peer) -> None:
    documents = [dcmread(path) for path in documented()]
    assert [document.SOPClassUID for document in documents] == [BasicTextSRStorage, Comprehensive3DSRStorage]
    assert [document.InstanceNumber for document in documents] == [1, 2]
    assert len({document.SeriesInstanceUID for document in documents}) == 1
    assert peer.roles() == ["narrative", "measurements"]


@pytest.mark.parametrize(
    ("pacs", "roles"),
    [
        ({}, ["narrative", "measurements", "picture"]),
        ({"picture": False}, ["narrative", "measurements"]),
        ({"measurements": False, "picture": False}, ["narrative"]),
    ],
)
def test_volumes_add_a_picture_unless_the_pacs_takes_none(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, peer: Peer, pacs: dict[str, object], roles: list[str]
) -> None:
    # Given a study that was prepared with its volumes
    brain = np.random.default_rng(0).uniform(100, 200, (*MASK.shape,)).astype(np.float32)
    volume = Volume(brain, np.diag([2.0, 2.0, 4.0, 1.0]))
    pair = DiffusionPair(volume, Volume(brain * np.float32(5e-6), volume.affine), 1000.0)
    # When it is delivered
    drafted(replace(PREPARED, pair=pair), pacs).deliver(claimed, NOW)
    # Then the PACS gets what it takes, the picture in a series of its own
    assert peer.roles() == roles
    series = [str(dcmread(path, stop_before_pixels=True).SeriesInstanceUID) for _, path, _ in peer.sent]
    assert len(set(series)) == 1 + ("picture" in roles)


def test_the_same_rules_make_the_same_documents(documented: Callable[..., list[Path]], tmp_path: Path) -> None:
    assert documented(rules=[RULE]) == documented(rules=[RULE])
    assert len(list((tmp_path / "results").glob("*.dcm"))) == 2


def test_other_series_settings_make_other_documents(documented: Callable[..., list[Path]]) -> None:
    other = {**RULE, "b_value_s_per_mm2": 1000}
    variants: list[dict[str, object]] = [
        {},
        {"rules": [RULE]},
        {"rules": [other]},
        {"rules": [RULE, other]},
        {"rules": [other, RULE]},
        {"repeats": "last"},
        {"compute_adc": False},
        {"compute_trace": False},
    ]
    made = {path for variant in variants for path in documented(**variant)}
    assert len(made) == 2 * len(variants)
    # What is written out though it is the default changes nothing
    assert set(documented(repeats="refuse", compute_adc=True)) <= made


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


def test_an_object_that_is_refused_keeps_no_other_back(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, peer: Peer
) -> None:
    pipeline = drafted()
    peer.fails["narrative"] = DestinationRefused("no-presentation-context", "not accepted")
    with pytest.raises(DestinationRefused):
        pipeline.deliver(claimed, NOW)
    assert peer.roles() == ["measurements"]
    # What another attempt may mend comes before what none can
    peer.sent.clear()
    forget_deliveries(database)
    peer.fails["measurements"] = DestinationUnavailable("no-connection", "no TCP connection")
    with pytest.raises(DestinationUnavailable):
        pipeline.deliver(claimed, NOW)
    assert peer.roles() == []


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


def test_an_object_whose_file_was_spoilt_is_composed_again_before_it_is_sent(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, tmp_path: Path, peer: Peer
) -> None:
    pipeline = drafted()
    peer.fails = {role: DestinationUnavailable("no-connection", "no TCP connection") for role in DOCUMENTS}
    with pytest.raises(DestinationUnavailable):
        pipeline.deliver(claimed, NOW)
    spoilt = deliveries.kept_objects(database, claimed, pipeline.destination_names[0])["measurements"]
    (tmp_path / spoilt.path).write_bytes(b"half")
    peer.fails.clear()
    start_again(database, claimed)
    pipeline.deliver(claimed, NOW)
    assert hashlib.sha256(peer.sent[1][2]).hexdigest() == spoilt.sha256


def test_a_fault_in_another_object_keeps_the_narrative_back_from_nobody(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_result: Result, _identity: SrIdentity) -> Dataset:
        raise NonConformant("sr-not-conformant", "a defect")

    pipeline = drafted()
    with monkeypatch.context() as patched:
        patched.setitem(DOCUMENTS, "measurements", broken)
        with pytest.raises(NonConformant):
            pipeline.deliver(claimed, NOW)
    assert peer.roles() == ["narrative"]
    # Once it is mended, only what is missing goes out
    pipeline.deliver(claimed, LATER)
    assert peer.roles() == ["narrative", "measurements"]


def test_an_object_that_was_turned_off_is_no_longer_waited_for(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, peer: Peer
) -> None:
    # Given a PACS that takes the narrative alone
    peer.fails["measurements"] = DestinationRefused("status-0122", "SOP class not supported")
    with pytest.raises(DestinationRefused):
        drafted().deliver(claimed, NOW)
    # When the site turns the other off
    pipeline = drafted(pacs={"measurements": False})
    start_again(database, claimed)
    pipeline.deliver(claimed, NOW)
    # Then the job can be finished
    assert list(deliveries.kept_objects(database, claimed, pipeline.destination_names[0])) == ["narrative"]


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


def test_the_lesion_mask_reaches_what_is_composed(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Result] = []

    def watched(result: Result, identity: SrIdentity) -> Dataset:
        seen.append(result)
        return compose_narrative(result.report, result.source, identity=identity)

    monkeypatch.setitem(DOCUMENTS, "narrative", watched)
    drafted().deliver(claimed, NOW)
    (result,) = seen
    assert result.lesion_mask is not None
    np.testing.assert_array_equal(result.lesion_mask, MASK)


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
