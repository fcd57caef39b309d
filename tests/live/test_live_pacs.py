"""A real patient's study goes in by DCMTK's storescu and comes back to Orthanc as a Structured Report."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage
from support import live
from support.live import Orthanc, Stack
from support.shared import shared_data
from support.soop import write_soop_sub3


def storescu(stack: Stack, directory: Path) -> None:
    command = [live.tool("storescu"), "-R", "+sd", "+r", "-aec", "PIRTAD", "-aet", "SCANNER", "127.0.0.1"]
    subprocess.run([*command, str(stack.listener_port), str(directory)], check=True, timeout=120)


def test_a_real_study_comes_back_as_a_structured_report(stack: Stack, orthanc: Orthanc, tmp_path: Path) -> None:
    # Given a real acute stroke as a scanner would send it, and all of pirtad
    files = write_soop_sub3(tmp_path / "soop")
    study_uid = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    with stack.listener(), stack.worker():
        # When DCMTK sends it
        storescu(stack, tmp_path / "soop")

        # Then Orthanc holds one report
        stack.wait_until([study_uid], "reported", 180)
    (report,) = orthanc.reports(study_uid)
    path = tmp_path / "report.dcm"
    path.write_bytes(report)

    # and DCMTK reads it, marked as a draft
    dump = subprocess.run([live.tool("dsrdump"), str(path)], capture_output=True, text=True, check=True).stdout
    assert "AI DRAFT - NOT REVIEWED" in dump
    assert re.search(r"Verification Flag\s*: UNVERIFIED", dump)

    # and so do the codes and the picture; a validator finds no error in any of them
    (measurements,) = orthanc.results(study_uid, Comprehensive3DSRStorage)
    (picture,) = orthanc.results(study_uid, SecondaryCaptureImageStorage)
    for content in (report, measurements, picture):
        path.write_bytes(content)
        command = [live.tool("dciodvfy"), "-new", str(path)]
        verdict = subprocess.run(command, capture_output=True, text=True, check=False)
        errors = [line for line in (verdict.stdout + verdict.stderr).splitlines() if line.startswith("Error")]
        assert errors == []

    # and `predict` on the same folder says the same
    predicted = json.loads(stack.call("predict", str(tmp_path / "soop"), "--json"))
    shown = json.loads(stack.call("show", study_uid, "--json"))
    assert predicted["text"] == shown["report_text"]
    assert predicted["territory"] == shown["study"]["territory"]


@pytest.mark.slow
def test_raw_acquisitions_of_three_makers_come_back_with_what_was_computed(
    stack: Stack, orthanc: Orthanc, tmp_path: Path
) -> None:
    # Given real brains for which the scanner sent neither trace nor ADC map: mosaic, classic and grid images
    studies = {}
    for name in ("siemens_e11_mosaic", "philips_classic", "uih_vframe"):
        with zipfile.ZipFile(shared_data(f"dicom/{name}.zip")) as archive:
            # Philips' presentation states and private objects are nothing a PACS would route here
            images = [one for one in archive.namelist() if not re.search(r"/$|/(PS|XX)_", one)]
            archive.extractall(tmp_path / name, images)
        study_uid = str(dcmread(next((tmp_path / name).rglob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)
        studies[name] = study_uid
    with stack.listener(), stack.worker():
        # When DCMTK sends them
        for name in studies:
            storescu(stack, tmp_path / name)
        # Then each comes back as one report
        stack.wait_until(list(studies.values()), "reported", 180)
    for name, study_uid in studies.items():
        (report,) = orthanc.reports(study_uid)
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(report)
        # that says what was computed
        command = [live.tool("dsrdump"), "+Pl", str(path)]
        dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "Trace image computed by pirtad" in dump
        assert "ADC map computed by pirtad" in dump
        # and names every image that was used, once
        evidence = dcmread(path).CurrentRequestedProcedureEvidenceSequence
        named = [
            sop.ReferencedSOPInstanceUID
            for study in evidence
            for series in study.ReferencedSeriesSequence
            for sop in series.ReferencedSOPSequence
        ]
        assert len(named) == len(set(named)) == len(list((tmp_path / name).rglob("*.dcm")))
        command = [live.tool("dciodvfy"), "-new", str(path)]
        verdict = subprocess.run(command, capture_output=True, text=True, check=False)
        assert [line for line in (verdict.stdout + verdict.stderr).splitlines() if line.startswith("Error")] == []
