"""A look at files in the spool: each header once, and the verdict in the ledger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from support.ledger import new_ledger
from support.receiving import Clock

from pirtad.inference.simulation.dicom_writer import LOCALIZER, ExtraSeries, StudyHeader, write_study
from pirtad.inference.volume import Volume
from pirtad.worker import declared, look
from pirtad.worker.contract import Priority
from pirtad.worker.declared import Declared
from pirtad.worker.ledger import receiving, registering, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.looks import Counts
from pirtad.worker.ledger.registering import ReceivedInstance
from pirtad.worker.look import Looker
from pirtad.worker.settings import Settings

STUDY = "2.25.1234"
SLICES = 12


def _volume(scale: float) -> Volume:
    values = np.random.default_rng(1).uniform(0.5, 1.0, (24, 20, SLICES)).astype(np.float32) * np.float32(scale)
    return Volume(values, np.diag([-8.0, -8.0, 6.0, 1.0]))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A localizer, DWI and ADC, whose headers declare their number of slices."""
    written = write_study(
        tmp_path / "spool", _volume(1000.0), _volume(1e-3), StudyHeader(study_uid=STUDY, patient_id="P"),
        extra=[ExtraSeries(_volume(1000.0), LOCALIZER)],
    )  # fmt: skip
    for path in written:
        change(path, ImagesInAcquisition=SLICES)
    return written


def change(path: Path, **values: object) -> None:
    image = dcmread(path)
    for keyword, value in values.items():
        setattr(image, keyword, value)
    image.save_as(path)


@pytest.fixture
def database(tmp_path: Path):
    ledger = new_ledger(tmp_path)
    yield ledger
    ledger.close()


def _register(database: Database, data_dir: Path, paths: list[Path]) -> None:
    for path in paths:
        image = dcmread(path, stop_before_pixels=True)
        received = ReceivedInstance(
            STUDY, image.SeriesInstanceUID, image.SOPInstanceUID, image.SOPClassUID,
            image.file_meta.TransferSyntaxUID, "MR", f"{path.name:>064}"[-64:], path.stat().st_size,
            str(path.relative_to(data_dir)), "MR1",
        )  # fmt: skip
        registering.register(database, received, 1.0)


def _look(database: Database):
    (study,) = receiving.open_studies(database)
    assert study.look is not None
    return study.look


def test_a_whole_pair_is_seen_and_no_header_is_read_twice(tmp_path: Path, database: Database, files, monkeypatch):
    read: list[Path] = []
    monkeypatch.setattr(look, "read_file", lambda path, real=look.read_file: read.append(path) or real(path))
    looker = Looker(Settings(storage={"data_dir": tmp_path}), database)
    # Given the pair and one image of another series
    _register(database, tmp_path, files[-2 * SLICES :] + files[:1])
    looker.look(STUDY)
    found = _look(database)
    assert (found.is_clear, found.counts, found.seen_all, found.reason_code) == (True, Counts.MET, True, "")
    assert len(found.known_series) == 3
    assert len(found.plain_series) == 1
    # When the rest of the other series comes, then the look still holds, and only the new headers are read
    _register(database, tmp_path, files[1:SLICES])
    again = _look(database)
    assert (again.seen_all, again.holds) == (False, True)
    looker.look(STUDY)
    assert _look(database).used_key == found.used_key
    assert sorted(read) == sorted(files)


def test_headers_of_a_study_that_no_longer_comes_are_let_go(tmp_path: Path, database: Database, files, monkeypatch):
    read: list[Path] = []
    monkeypatch.setattr(look, "read_file", lambda path, real=look.read_file: read.append(path) or real(path))
    clock = Clock(1000.0)
    looker = Looker(Settings(storage={"data_dir": tmp_path}), database, clock)
    _register(database, tmp_path, files)
    looker.look(STUDY)
    # While it comes its headers are kept
    for _ in range(3):
        clock.now += look._KEPT_S - 1
        looker.look(STUDY)
    assert sorted(read) == sorted(files)
    # Two minutes after the last look they are not
    clock.now += look._KEPT_S + 1
    looker.look("2.25.4")
    looker.look(STUDY)
    assert sorted(read) == sorted(files * 2)


def test_a_slice_that_is_declared_and_not_there_is_missed(tmp_path: Path, database: Database, files):
    looker = Looker(Settings(storage={"data_dir": tmp_path}), database)
    _register(database, tmp_path, files[SLICES : 2 * SLICES - 1] + files[2 * SLICES : -1])
    looker.look(STUDY)
    assert (_look(database).is_clear, _look(database).counts) == (True, Counts.SHORT)


def test_without_a_declared_count_the_archive_is_asked_only_where_it_is_allowed(
    tmp_path: Path, database: Database, files, monkeypatch
):
    for path in files:
        image = dcmread(path)
        del image.ImagesInAcquisition
        image.save_as(path)
    asked: list[tuple[str, ...]] = []

    def archive(_pacs: object, study_uid: str, series: tuple[str, ...]) -> dict[str, int]:
        asked.append(series)
        return dict.fromkeys(series, SLICES)

    monkeypatch.setattr(look.pacs_counts, "images_in_archive", archive)
    _register(database, tmp_path, files)
    Looker(Settings(storage={"data_dir": tmp_path}), database).look(STUDY)
    assert (_look(database).counts, asked) == (Counts.UNSTATED, [])
    allowed = Settings(storage={"data_dir": tmp_path}, assembly={"ask_pacs_counts": True})
    Looker(allowed, database).look(STUDY)
    assert (_look(database).counts, len(asked)) == (Counts.MET, 1)


def test_what_is_no_dicom_is_told_and_ends_no_look(tmp_path: Path, database: Database, files):
    _register(database, tmp_path, files)
    files[0].write_bytes(b"nothing")
    Looker(Settings(storage={"data_dir": tmp_path}), database).look(STUDY)
    found = _look(database)
    assert (found.is_clear, found.used_key, found.reason_code) == (False, "", "unreadable_instance")


def test_an_error_nobody_foresaw_is_told_without_its_text(tmp_path: Path, database: Database, files, monkeypatch):
    def bug(*_: object) -> None:
        raise ValueError("PatientName")

    monkeypatch.setattr(look, "seen_in", bug)
    _register(database, tmp_path, files)
    Looker(Settings(storage={"data_dir": tmp_path}), database).look(STUDY)
    found = _look(database)
    assert found.reason_code == "unforeseen"
    assert "ValueError" in found.reason
    assert "PatientName" not in found.reason


def test_a_header_that_says_stat_makes_the_study_urgent(tmp_path: Path, database: Database, files):
    request = Dataset()
    request.RequestedProcedurePriority = "STAT"
    change(files[SLICES], RequestAttributesSequence=[request])
    _register(database, tmp_path, files[SLICES : SLICES + 1])
    Looker(Settings(storage={"data_dir": tmp_path}), database).look(STUDY)
    (view,) = views.studies(database)
    assert (view.priority, view.priority_because) == ("stat", "RequestedProcedurePriority STAT")
    assert receiving.open_studies(database)[0].priority is Priority.STAT


def test_declarations_are_read_from_a_header(files):
    change(files[0], NumberOfTemporalPositions=3)
    assert declared.declared_in(files[0]) == Declared(images_in_acquisition=SLICES, temporal_positions=3)
