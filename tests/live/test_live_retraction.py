"""A delivered result is withdrawn from a real Orthanc, which is down at first.

Orthanc 1.10 knows no IOCM: it keeps and shows the rejected objects beside the note. What an archive that knows it would
do is not tested here; that the note says the right thing about the right objects is.
"""

from __future__ import annotations

import json
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)
from support import live
from support.live import Orthanc, Stack, WrittenStudy

from pirtad.inference.findings import Territory
from pirtad.inference.simulation.dicom_writer import StudyHeader, write_study
from pirtad.inference.simulation.study import simulate_clear
from pirtad.inference.training.seeds import TEST

RESULTS = (BasicTextSRStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
RETRACT = ("--reason", "The side is wrong.", "--code", "patient-safety", "--yes", "--json")


def send(stack: Stack, directory: Path) -> None:
    command = [live.tool("storescu"), "-R", "+sd", "+r", "-aec", "PIRTAD", "127.0.0.1", str(stack.listener_port)]
    subprocess.run([*command, str(directory)], check=True, timeout=120)


def held(pacs: Orthanc, study_uid: str, *sop_classes: str) -> list[Dataset]:
    return [dcmread(BytesIO(content)) for content in pacs.results(study_uid, *sop_classes)]


def named(note: Dataset) -> set[tuple[str, str, str]]:
    """(series, SOP class, SOP instance) UIDs of the note's evidence."""
    return {
        (series.SeriesInstanceUID, sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID)
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> WrittenStudy:
    """One simulated study with a clear lesion."""
    directory = tmp_path_factory.mktemp("withdrawn")
    case = simulate_clear(iter(TEST), Territory.ANTERIOR)
    header = StudyHeader(
        patient_id="LIVE-R",
        patient_name="Live^Retracted",
        study_uid="2.25.3141592653",
        accession_number="R1",
        age="070Y",
    )
    write_study(directory, case.dwi, case.adc_mm2_per_s, header, b_value_s_per_mm2=case.b_value_s_per_mm2)
    return WrittenStudy(header.study_uid, directory, str(Territory.ANTERIOR))


@pytest.mark.slow
def test_a_withdrawn_result_is_rejected_once_and_drafted_anew(
    redis_port: int, short_tmp: Path, study: WrittenStudy
) -> None:
    pacs = Orthanc(short_tmp / "orthanc")
    stack = Stack(short_tmp / "pirtad", redis_port, pacs.dicom_port)
    with stack.listener(), stack.worker():
        # Given a result of three objects in the PACS
        with pacs.running():
            send(stack, study.directory)
            stack.wait_until([study.study_uid], "reported", 280)
            results = held(pacs, study.study_uid, *RESULTS)
            assert len(results) == 3

        # When it is withdrawn while the PACS is down
        told = json.loads(stack.call("retract", study.study_uid, *RETRACT))
        assert (told["outcome"], told["state"]) == ("requested", "withdrawing")
        live.wait_for(lambda: stack.studies().get(study.study_uid, {}).get("last_error"), 60, "an attempt to fail")
        assert stack.studies()[study.study_uid]["state"] == "withdrawing"
        assert json.loads(stack.call("retract", study.study_uid, *RETRACT))["outcome"] == "under_way"

        with pacs.running():
            # Then the note is there once the PACS is back, and names these three and nothing else
            stack.wait_until([study.study_uid], "withdrawn", 60)
            (note,) = held(pacs, study.study_uid, KeyObjectSelectionDocumentStorage)
            assert named(note) == {(one.SeriesInstanceUID, one.SOPClassUID, one.SOPInstanceUID) for one in results}
            assert {uid for *_, uid in named(note)} == set(told["withdraws"])
            assert note.ConceptNameCodeSequence[0].CodeValue == "113037"
            assert (note.PatientID, note.PatientName) == (results[0].PatientID, results[0].PatientName)
            assert valid(note, short_tmp)
            # Orthanc hides nothing
            assert len(held(pacs, study.study_uid, *RESULTS)) == 3
            assert len(pacs.results(None, KeyObjectSelectionDocumentStorage)) == 1

            # and the same command does nothing more
            assert json.loads(stack.call("retract", study.study_uid, *RETRACT))["outcome"] == "withdrawn"
            shown = json.loads(stack.call("show", study.study_uid, "--json"))
            assert [event["kind"] for event in shown["events"]].count("withdrawal_requested") == 1
            assert len([one for one in shown["deliveries"] if one["role"] == "retraction"]) == 1

            # When it is drafted anew
            stack.call("retry", study.study_uid)
            stack.wait_until([study.study_uid], "reported", 180)
            # Then three other objects are there, which the note does not name
            uids = {one.SOPInstanceUID for one in held(pacs, study.study_uid, *RESULTS)}
            assert len(uids - {uid for *_, uid in named(note)}) == 3
            assert len(uids) == 6
            assert len(pacs.results(None, KeyObjectSelectionDocumentStorage)) == 1

            # and they can be withdrawn in their turn, for another reason
            second = ("--reason", "Motion.", "--yes")
            stack.call("retract", study.study_uid, *second)
            stack.wait_until([study.study_uid], "withdrawn", 60)
            notes = held(pacs, study.study_uid, KeyObjectSelectionDocumentStorage)
            assert {uid for one in notes for *_, uid in named(one)} == uids
            assert sorted(one.ConceptNameCodeSequence[0].CodeValue for one in notes) == ["113001", "113037"]


def valid(note: Dataset, directory: Path) -> bool:
    """Whether DCMTK reads it and dciodvfy finds no error."""
    path = directory / "note.dcm"
    note.save_as(path)
    dump = subprocess.run([live.tool("dsrdump"), str(path)], capture_output=True, text=True, check=True).stdout
    verdict = subprocess.run([live.tool("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False)
    errors = [line for line in (verdict.stdout + verdict.stderr).splitlines() if line.startswith("Error")]
    return "The side is wrong." in dump and errors == []
