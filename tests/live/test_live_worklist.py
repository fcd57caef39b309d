"""Real worklists: Orthanc's plugin and DCMTK's wlmscpfs. Each hands out entries from files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian
from support import live
from support.live import Orthanc, Stack, WrittenStudy
from support.worklist import STUDY, entry, image

from pirtad.inference.report.report import Registry
from pirtad.worker.registry.matching import asked_of, fitting
from pirtad.worker.registry.worklist import WorklistSilent, ask
from pirtad.worker.settings import WorklistSettings
from pirtad.worker.sr import charset

PLUGIN = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")
FACTS = Registry(71, "Female", "stated reason for examination: Hemiparese links", None, "Vorhofflimmern, früher TIA")


def write(directory: Path, name: str, made: Dataset) -> None:
    """An entry with what these servers want of a file."""
    made.PatientName = made.get("PatientName") or "X"
    made.ensure_file_meta()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = "1.2.276.0.7230010.3.1.0.1"  # as DCMTK's dump2dcm writes them
    made.file_meta.MediaStorageSOPInstanceUID = f"{STUDY}.9"
    dcmwrite(directory / f"{name}.wl", made, enforce_file_format=True)


@contextmanager
def orthanc_worklist(directory: Path) -> Iterator[WorklistSettings]:
    if not PLUGIN.exists():
        live.missing("Orthanc's worklist plugin is not installed")
    port, entries = live.free_port(), directory / "WL"
    config = directory / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "StorageDirectory": str(directory / "db"),
                "DicomAet": "WL",
                "DicomPort": port,
                "HttpServerEnabled": False,
                "DicomAlwaysAllowFindWorklist": True,
                "DicomModalities": {"pirtad": ["PIRTAD", "127.0.0.1", 104]},
                "Plugins": [str(PLUGIN)],
                "Worklists": {"Enable": True, "Database": str(entries)},
            }
        )
    )
    with live.process([live.tool("Orthanc"), str(config)], directory / "orthanc.log"):
        live.wait_for(lambda: live.answers(port), 30, "Orthanc")
        yield WorklistSettings(enabled=True, ae_title="WL", port=port, timeout_s=20)


@contextmanager
def wlmscpfs(directory: Path) -> Iterator[WorklistSettings]:
    port = live.free_port()
    (directory / "WL" / "lockfile").touch()
    # -csk: answers in the character set of the files
    command = [live.tool("wlmscpfs"), "--data-files-path", str(directory), "--keep-char-set", str(port)]
    with live.process(command, directory / "wlmscpfs.log"):
        live.wait_for(lambda: live.answers(port), 30, "wlmscpfs")
        yield WorklistSettings(enabled=True, ae_title="WL", port=port, timeout_s=20)


@pytest.mark.parametrize("server", [orthanc_worklist, wlmscpfs])
def test_a_real_worklist_tells_this_patient_s_facts_and_nobody_else_s(
    private_network: None, short_tmp: Path, server
) -> None:
    # Given a worklist with this order, another patient's, and another order of this patient's
    (short_tmp / "WL").mkdir()
    write(short_tmp / "WL", "ours", entry())
    write(short_tmp / "WL", "other", entry(PatientID="PID-2", AccessionNumber="ACC-8", StudyInstanceUID="1.2.3"))
    write(short_tmp / "WL", "earlier", entry(AccessionNumber="ACC-1", StudyInstanceUID="1.2.4"))
    with server(short_tmp) as asking:
        # When it is asked with the accession number, then this entry alone comes back
        asked = asked_of(image())
        found = ask(asked, asking)
        assert [one.AccessionNumber for one in found] == ["ACC-7"]
        assert fitting(found, asked) == (FACTS, ())

        # And for images without one, the Study Instance UID tells this order from the other
        asked = asked_of(image(AccessionNumber=""))
        found = ask(asked, asking)
        assert sorted(one.AccessionNumber for one in found) == ["ACC-1", "ACC-7"]
        assert fitting(found, asked) == (FACTS, ())

        # And another patient under this accession number gets nothing
        asked = asked_of(image(PatientID="PID-2"))
        assert fitting(ask(asked, asking), asked)[0] is None


@pytest.mark.slow
def test_from_worklist_and_operator_to_the_report_in_the_pacs(
    stack: Stack, orthanc: Orthanc, ten_studies: list[WrittenStudy], short_tmp: Path
) -> None:
    # Given a worklist with this patient's order, and a NIHSS that is given before the study comes
    study = ten_studies[0]
    (short_tmp / "WL").mkdir()
    order = {"PatientID": "LIVE0", "AccessionNumber": "A0", "StudyInstanceUID": study.study_uid}
    stated = {"PatientBirthDate": None, "PatientSex": None, "PatientAge": "070Y"}
    write(short_tmp / "WL", "order", entry(**order, **stated))
    with wlmscpfs(short_tmp) as asking, stack.listener():
        with stack.config.open("a", encoding="utf-8") as config:
            config.write(f'[worklist]\nenabled = true\nae_title = "WL"\nport = {asking.port}\ntimeout_s = 10\n')
        stack.call("registry", study.study_uid, "--nihss", "12", "--patient-id", "LIVE0")
        # When the study comes and is reported
        with stack.worker():
            stack.call("send", str(study.directory), f"127.0.0.1:{stack.listener_port}")
            stack.wait_until([study.study_uid], "reported", 240)
    # Then the PACS has a narrative with the facts of each, and where they are from
    (report,) = orthanc.reports(study.study_uid)
    text = "\n".join(value for _, _, value in charset.texts(dcmread(BytesIO(report))))
    assert "Hemiparese links" in text
    assert "Vorhofflimmern, früher TIA" in text
    assert "12.0" in text
    assert "presentation and history from the worklist; NIHSS from an operator." in text
    # and what comes too late is refused
    late = stack.call("registry", study.study_uid, "--nihss", "20", check=False)
    assert late == ""
    assert "Vorhofflimmern" not in stack.log.read_text()


def test_a_real_server_that_does_not_know_us_is_told_of(private_network: None, short_tmp: Path) -> None:
    (short_tmp / "WL").mkdir()
    with wlmscpfs(short_tmp) as asking, pytest.raises(WorklistSilent, match="rejected"):
        ask(asked_of(image()), asking.model_copy(update={"ae_title": "NOBODY"}))
