"""A study whose DWI and ADC come first and whose other 300 images come slowly: the report does not wait for them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage
from support import live
from support.live import Orthanc, Stack

from pirtad.inference.findings import Territory
from pirtad.inference.simulation.dicom_writer import StudyHeader, write_study
from pirtad.inference.simulation.study import simulate
from pirtad.inference.training.seeds import TEST
from pirtad.worker.ledger import views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.views import StudyDetail

OTHERS, IN_A_SERIES = 300, 30
QUIET_S = 20
HELD_BACK = 2  # slices of DWI and ADC that come after the report


class Exam:
    """A simulated study in three parts, with declared counts."""

    def __init__(self, directory: Path) -> None:
        case = simulate(next(iter(TEST)), Territory.ANTERIOR)
        header = StudyHeader(
            study_uid="2.25.27182818", patient_id="LIVE", patient_name="Live^Patient", accession_number="A1", age="070Y"
        )
        write_study(directory, case.dwi, case.adc_mm2_per_s, header, b_value_s_per_mm2=case.b_value_s_per_mm2)
        self.study_uid = header.study_uid
        by_series: dict[str, list[Dataset]] = {}
        for path in sorted(directory.rglob("*.dcm")):
            image = dcmread(path)
            by_series.setdefault(image.SeriesInstanceUID, []).append(image)
        self.pair: list[Dataset] = []
        self.late: list[Dataset] = []
        for images in by_series.values():
            images.sort(key=lambda image: float(image.ImagePositionPatient[2]))
            for image in images:
                image.ImagesInAcquisition = len(images) - HELD_BACK
            self.pair += images[:-HELD_BACK]
            self.late += images[-HELD_BACK:]

    def others(self) -> Iterator[Dataset]:
        """Ten series of a kind that no draft is made from."""
        for number in range(OTHERS):
            series, slice_number = divmod(number, IN_A_SERIES)
            image = dcmread(BytesIO(_encoded(self.pair[0])))
            image.SeriesInstanceUID = f"{self.study_uid}.7.{series + 1}"
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{self.study_uid}.8.{number + 1}"
            image.SeriesDescription, image.SeriesNumber = f"AX T2 TSE {series}", 20 + series
            image.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
            image.InstanceNumber = slice_number + 1
            for keyword in ("DiffusionBValue", "ImagesInAcquisition"):
                if keyword in image:
                    delattr(image, keyword)
            yield image


def _encoded(image: Dataset) -> bytes:
    out = BytesIO()
    image.save_as(out)
    return out.getvalue()


def _send(port: int, images: list[Dataset], directory: Path) -> None:
    """Over one association, in this order. DCMTK's sender: pynetdicom's loses answers where it has no processor."""
    directory.mkdir()
    paths = [directory / f"{number:04d}.dcm" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save_as(path)
    command = [live.tool("storescu"), "-R", "-aec", "PIRTAD", "127.0.0.1", str(port)]
    subprocess.run([*command, *map(str, paths)], check=True, timeout=120)


def _detail(stack: Stack, study_uid: str) -> StudyDetail:
    database = Database(f"sqlite:///{stack.directory / 'data' / 'ledger.sqlite'}")
    try:
        found = views.study(database, study_uid)
        assert found is not None
        return found
    finally:
        database.close()


def _event(detail: StudyDetail, kind: str) -> list[views.EventView]:
    return [event for event in detail.events if event.kind == kind]


@pytest.mark.slow
def test_the_report_does_not_wait_for_the_rest_and_later_slices_revise_it(
    stack: Stack, orthanc: Orthanc, short_tmp: Path
) -> None:
    exam = Exam(short_tmp / "exam")
    # A quiet period that is not over before the test is: what starts early starts by itself
    stack.config.write_text(stack.config.read_text().replace("quiet_period_s = 1\n", f"quiet_period_s = {QUIET_S}\n"))
    stop = threading.Event()
    sent: list[int] = []

    with stack.listener(), stack.worker("prepare"), stack.worker("infer"), stack.worker("deliver"):
        live.wait_for(lambda: b"models loaded" in stack.log.read_bytes(), 240, "the models")
        live.wait_for(lambda: stack.log.read_bytes().count(b" ready.") == 3, 60, "the workers")

        # Given a sender that brings DWI and ADC first, and then other series, one every few seconds
        def send() -> None:
            _send(stack.listener_port, exam.pair, short_tmp / "pair")
            others = list(exam.others())
            for number in range(0, OTHERS, IN_A_SERIES):
                _send(stack.listener_port, others[number : number + IN_A_SERIES], short_tmp / f"others{number}")
                sent.append(IN_A_SERIES)
                stop.wait(5)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            # When the study is queued, then most of the exam is still to come
            stack.wait_until([exam.study_uid], "running", 120)
            arrived_by_then = sum(sent)
        finally:
            stop.set()  # the rest at full speed
            sender.join()
        assert sum(sent) == OTHERS
        stack.wait_until([exam.study_uid], "reported", 240)
        detail = _detail(stack, exam.study_uid)
        (opened,) = _event(detail, "complete")
        assert opened.data["started_by"] == "whole"
        assert arrived_by_then < OTHERS / 2
        assert opened.at < detail.study.last_received_at
        assert "Drafted as soon as DWI and ADC were whole" in detail.report_text

        # and the rest makes no other report, and no note
        live.wait_for(lambda: _event(_detail(stack, exam.study_uid), "other_images"), 60, "the end of the round")
        assert _detail(stack, exam.study_uid).study.note == ""
        assert len(orthanc.reports(exam.study_uid)) == 1

        # When the last slices of DWI and ADC come after all
        _send(stack.listener_port, exam.late, short_tmp / "late")
        live.wait_for(lambda: len(orthanc.reports(exam.study_uid)) == 2, 240, "the revised report")
        stack.wait_until([exam.study_uid], "reported", 60)

    # Then each of the two documents names the one whose place it takes, and is conformant
    for sop_class in (BasicTextSRStorage, Comprehensive3DSRStorage):
        first, second = _by_time(orthanc.results(exam.study_uid, sop_class))
        (item,) = second.PredecessorDocumentsSequence
        named = item.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        assert named == first.SOPInstanceUID
        assert "PredecessorDocumentsSequence" not in first
        assert _dciodvfy(second, stack.directory) == []
    assert "REVISED: takes the place of the report of" in _detail(stack, exam.study_uid).report_text


def _by_time(contents: list[bytes]) -> list[Dataset]:
    found = [dcmread(BytesIO(content)) for content in contents]
    return sorted(found, key=lambda document: (document.ContentDate, document.ContentTime))


def _dciodvfy(document: Dataset, directory: Path) -> list[str]:
    """Errors that it finds."""
    tool = shutil.which("dciodvfy", path=str(Path(sys.executable).parent)) or shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy is not installed")
    path = directory / f"{document.SOPInstanceUID}.dcm"
    document.save_as(path)
    done = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False, timeout=60)
    return [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")]
