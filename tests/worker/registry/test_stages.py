"""The registry's way through the stages: from images, worklist and what was given to the draft and its UIDs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from support.ledger import new_ledger
from support.worklist import STUDY, Answer, entry, image, silent, worklist

from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.report.report import Provenance, Registry
from pirtad.worker.ledger import registry_facts
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.registry_facts import Giving
from pirtad.worker.pipeline import local_time
from pirtad.worker.registry.sources import gather, settled
from pirtad.worker.settings import WorklistSettings
from pirtad.worker.sr.identity import derive_identity

HEADER = Registry(71, "Female")
PREPARED = Prepared(
    NetworkInput(np.zeros((2, *SHAPE), np.float32), np.zeros(SHAPE, bool), np.eye(4)),
    HEADER,
    1000.0,
    dwi_uids=("1.2.3",),
    image_notes=("The ADC map was computed.",),
    patient_id="PID-1",
)
FROM_WORKLIST = Registry(
    71, "Female", "stated reason for examination: Hemiparese links", None, "Vorhofflimmern, früher TIA"
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    ledger = new_ledger(tmp_path)
    yield ledger
    ledger.close()


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    return {"1.2.3": written(tmp_path / "image.dcm", image())}


def written(path: Path, header: Dataset) -> Path:
    header.SOPClassUID, header.SOPInstanceUID, header.SeriesInstanceUID = MRImageStorage, "1.2.3", "1.2"
    header.Rows = header.Columns = 1
    header.BitsAllocated, header.PixelData = 16, b"\0\0"
    header["PixelData"].VR = "OW"
    header.ensure_file_meta()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, header, enforce_file_format=True)
    return path


def give(database: Database, via: str = "api", **facts: object) -> None:
    registry_facts.keep(database, Giving(STUDY, 5.0, "HIS", via, facts))


def answered(_query: Dataset) -> Iterator[Answer]:
    yield 0xFF00, entry()
    yield 0x0000, None


def through(directory: Path, database: Database, images: dict[str, Path], asking: WorklistSettings) -> Prepared:
    """Prepare, then infer, as far as the registry is concerned; what infer drafts from."""
    gather(PREPARED, images, asking).save(directory)
    PREPARED.save(directory)
    return settled(directory, STUDY, database)


OFF = WorklistSettings()


def test_images_alone_are_drafted_from_as_they_are(tmp_path: Path, database: Database) -> None:
    # A worklist that is not asked needs no image either
    final = through(tmp_path, database, {}, OFF)
    assert (final.registry, final.image_notes) == (HEADER, PREPARED.image_notes)


def test_the_worklist_adds_what_the_images_do_not_say(
    tmp_path: Path, database: Database, images: dict[str, Path]
) -> None:
    with worklist(answered) as asking:
        final = through(tmp_path, database, images, asking)
    assert final.registry == FROM_WORKLIST
    assert final.image_notes[1:] == ("Registry: age, sex, presentation and history from the worklist.",)
    # and the document is composed from the same
    assert Prepared.load(tmp_path).registry == final.registry


def test_a_silent_worklist_is_noted_and_the_study_goes_on(
    tmp_path: Path, database: Database, images: dict[str, Path]
) -> None:
    with silent() as asking:
        final = through(tmp_path, database, images, asking)
    assert final.registry == HEADER
    assert final.image_notes[1].startswith("The worklist told nothing of the patient: ")


def test_images_without_patient_id_ask_for_nobody(tmp_path: Path, database: Database) -> None:
    anonymous = {"1.2.3": written(tmp_path / "image.dcm", image(PatientID=""))}
    asking = OFF.model_copy(update={"enabled": True, "port": 1})
    final = through(tmp_path, database, anonymous, asking)
    assert final.image_notes[1:] == ("The worklist was not asked: the images state no PatientID.",)


def test_what_is_given_while_the_study_waits_counts_and_what_replaces_it(
    tmp_path: Path, database: Database, images: dict[str, Path]
) -> None:
    # Given a prepared study, facts given after that, and a first attempt at its draft
    with worklist(answered) as asking:
        through(tmp_path, database, images, asking)
    give(database, nihss=12, presentation="Aphasia")
    assert settled(tmp_path, STUDY, database).registry == replace(FROM_WORKLIST, nihss=12, presentation="Aphasia")
    # When they are corrected before the next attempt
    give(database, nihss=21)
    final = settled(tmp_path, STUDY, database)
    # Then these count alone, told of once
    assert final.registry == replace(FROM_WORKLIST, nihss=21)
    assert final.image_notes == (
        "The ADC map was computed.",
        "Registry: age, sex, presentation and history from the worklist; NIHSS from the hospital's interface.",
    )
    # and when they are taken back, none
    give(database)
    assert settled(tmp_path, STUDY, database).registry == FROM_WORKLIST


def test_done_again_it_is_the_same_and_writes_nothing(tmp_path: Path, database: Database) -> None:
    give(database, via="cli", nihss=12, patient_id="PID-1")
    first = through(tmp_path, database, {}, OFF)
    before = (tmp_path / "facts.json").stat().st_mtime_ns
    again = settled(tmp_path, STUDY, database)
    assert (again.registry, again.image_notes) == (first.registry, first.image_notes)
    assert (tmp_path / "facts.json").stat().st_mtime_ns == before
    assert again.image_notes[-1] == "Registry: age and sex from the images' header; NIHSS from an operator."


@pytest.mark.parametrize("of_the_images", ["PID-1", None])
def test_facts_for_another_patient_are_not_used(tmp_path: Path, database: Database, of_the_images: str | None) -> None:
    give(database, nihss=40, history="secret", patient_id="PID-2")
    replace(PREPARED, patient_id=of_the_images).save(tmp_path)
    final = settled(tmp_path, STUDY, database)
    assert final.registry == HEADER
    assert "another PatientID" in final.image_notes[-1]
    assert "PID-2" not in final.image_notes[-1]


def test_a_study_that_an_earlier_version_prepared_is_settled_once(tmp_path: Path, database: Database) -> None:
    PREPARED.save(tmp_path)
    give(database, nihss=12)
    first = settled(tmp_path, STUDY, database)
    assert first.registry == replace(HEADER, nihss=12)
    assert settled(tmp_path, STUDY, database).image_notes == first.image_notes


def test_other_facts_are_another_document(tmp_path: Path, database: Database) -> None:
    def uid(registry: Registry) -> str:
        provenance = Provenance("vit", "a", "1", "b", "lm", "c", "d", "0.1.0")
        return derive_identity(
            study_instance_uid=STUDY, instances=[("1.2.3", "ab")], registry=registry, config={},
            provenance=provenance, content_datetime=local_time(0.0),
        ).sop_instance_uid  # fmt: skip

    without = through(tmp_path, database, {}, OFF).registry
    give(database, nihss=12)
    given = settled(tmp_path, STUDY, database).registry
    assert len({uid(without), uid(given), uid(Prepared.load(tmp_path).registry)}) == 2


def test_logs_and_reprs_hold_no_patient(
    tmp_path: Path, database: Database, images: dict[str, Path], caplog: pytest.LogCaptureFixture, capsys
) -> None:
    caplog.set_level(logging.DEBUG)
    give(database, presentation="Aphasia", history="Lupus", patient_id="PID-1")
    with worklist(answered) as asking:
        final = through(tmp_path, database, images, asking)
    told = [caplog.text, *capsys.readouterr(), repr(final), repr(registry_facts.newest(database, STUDY))]
    for secret in ("Aphasia", "Lupus", "PID-1", "Hemiparese", "Specimen"):
        assert secret not in "".join(told)
    assert json.loads((tmp_path / "registry.json").read_text())["worklist"]["age_years"] == 71
