"""From a prepared study to its document: what the stages hand on, and which document it becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from support.ledger import STUDY, new_ledger, received

from pirtad.inference.findings import Territory
from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.report.report import Provenance, Registry, Report, SimilarCase
from pirtad.worker import pipeline as pipeline_module
from pirtad.worker.contract import Stage
from pirtad.worker.deliver import Destination, Outcome
from pirtad.worker.ledger import jobs, receiving
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.jobs import ClaimedJob
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.settings import Settings
from pirtad.worker.sr.evidence import references

NOTE = "The ADC map was computed by pirtad from b 0 and 1000 s/mm2."
UNWEIGHTED, WEIGHTED, UNUSED = (f"{STUDY}.1.{number}" for number in (1, 2, 3))
RULE = {"description": "^ax dwi", "kind": "trace"}


class Drafting:
    """An engine that drafts one same report, with the notes of the study it is given."""

    def draft(self, prepared: Prepared) -> Report:
        finding = "There is mild diffusion restriction."
        return Report(
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
        receiving.register(database, replace(registered, sha256=digest), 0.0)
    receiving.open_job(database, STUDY, 1.0)
    (message,) = jobs.publishable(database, 1.0, lambda _: False)
    job = jobs.claim(database, message, "me", 1.0, 1e9, lambda _: False)
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


@pytest.fixture
def documented(
    database: Database, claimed: ClaimedJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Drafts, composes and delivers under some [series] settings; returns the path of what was sent."""
    sent: list[Path] = []

    def send(path: Path, _destination: Destination) -> Outcome:
        sent.append(path)
        return Outcome(0x0000)

    monkeypatch.setattr(pipeline_module, "send", send)
    network_input = NetworkInput(np.zeros((2, *SHAPE), np.float32), np.zeros(SHAPE, bool), np.eye(4))
    prepared = Prepared(network_input, Registry(), 1000.0, (WEIGHTED,), (UNWEIGHTED, WEIGHTED), True, (NOTE,))

    def run(**series: object) -> Path:
        pipeline = Pipeline(Settings(storage={"data_dir": tmp_path}, series=series), database)
        pipeline.__dict__["engine"] = Drafting()  # where the cached property keeps it
        directory = tmp_path / "work" / claimed.job_id
        directory.mkdir(parents=True, exist_ok=True)
        prepared.save(directory)
        pipeline.infer(claimed)
        pipeline.deliver(claimed, datetime(2026, 3, 4, 12, tzinfo=UTC))
        return sent[-1]

    return run


def test_notes_and_a_computed_map_reach_the_document(documented: Callable[..., Path]) -> None:
    document = dcmread(documented())
    texts = [item.TextValue for item in document.ContentSequence[-1].ContentSequence]
    assert texts[1] == NOTE
    assert "map that pirtad computed from series 1 and 2, 2 images" in texts[2]
    listed = [uid for *_, uid in references(document.CurrentRequestedProcedureEvidenceSequence)]
    assert sorted(listed) == [UNWEIGHTED, WEIGHTED]
    assert UNUSED not in listed


def test_the_same_rules_make_the_same_document(documented: Callable[..., Path], tmp_path: Path) -> None:
    assert documented(rules=[RULE]) == documented(rules=[RULE])
    assert len(list((tmp_path / "results").glob("*.dcm"))) == 1


def test_other_series_settings_make_another_document(documented: Callable[..., Path]) -> None:
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
    made = {documented(**variant).name for variant in variants}
    assert len(made) == len(variants)
    # What is written out though it is the default changes nothing
    assert documented(repeats="refuse", compute_adc=True).name in made
    assert len({documented(**variant).name for variant in variants} | made) == len(variants)
