"""A real patient's study goes in by DCMTK's storescu and comes back to Orthanc as a Structured Report."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from pydicom import dcmread
from support import live
from support.live import Orthanc, Stack
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

    # and a validator finds no error
    verdict = subprocess.run([live.tool("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False)
    errors = [line for line in (verdict.stdout + verdict.stderr).splitlines() if line.startswith("Error")]
    assert errors == []

    # and `predict` on the same folder says the same
    predicted = json.loads(stack.call("predict", str(tmp_path / "soop"), "--json"))
    shown = json.loads(stack.call("show", study_uid, "--json"))
    assert predicted["text"] == shown["report_text"]
    assert predicted["territory"] == shown["study"]["territory"]
