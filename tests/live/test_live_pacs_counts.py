"""Orthanc is asked how many images of a series it has, while it gets them one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.uid import MRImageStorage
from support.live import Orthanc
from support.receiving import STUDY, image

from pirtad.worker.deliver import Destination, send
from pirtad.worker.pacs_counts import images_in_archive
from pirtad.worker.settings import PacsSettings

DWI, ADC, OTHER = (f"{STUDY}.1.{number}" for number in range(1, 4))


@pytest.fixture
def asking(private_network: None, short_tmp: Path) -> Iterator[Orthanc]:
    """An Orthanc that lets anybody ask."""
    with Orthanc(short_tmp / "orthanc", extra={"DicomAlwaysAllowFind": True}).running() as pacs:
        yield pacs


def settings_of(pacs: Orthanc) -> PacsSettings:
    return PacsSettings(ae_title="ORTHANC", port=pacs.dicom_port)


def store(pacs: Orthanc, directory: Path, series_uid: str, number: int, study: str = STUDY) -> None:
    made: Dataset = image(number, study)
    made.SeriesInstanceUID, made.SOPInstanceUID = series_uid, f"{series_uid}.{number}"
    made.file_meta.MediaStorageSOPClassUID = MRImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    path = directory / f"{made.SOPInstanceUID}.dcm"
    dcmwrite(path, made, enforce_file_format=True)
    send(path, Destination("ORTHANC", "127.0.0.1", pacs.dicom_port, "SCANNER"))


def test_orthanc_tells_what_it_has_at_that_moment(asking: Orthanc, short_tmp: Path) -> None:
    pacs = settings_of(asking)
    # Given an archive that has nothing of the study, a part, and more: and another study's images all along
    store(asking, short_tmp, f"{STUDY}9.1", 1, study=f"{STUDY}9")
    assert images_in_archive(pacs, STUDY, (DWI, ADC)) == {}
    for number in (1, 2, 3):
        store(asking, short_tmp, DWI, number)
        assert images_in_archive(pacs, STUDY, (DWI, ADC)) == {DWI: number}
    store(asking, short_tmp, ADC, 1)
    store(asking, short_tmp, ADC, 1)  # the same image again is no other one
    store(asking, short_tmp, OTHER, 1)
    # Then each answer is what it has of the series that it is asked about
    assert images_in_archive(pacs, STUDY, (DWI, ADC)) == {DWI: 3, ADC: 1}
    # and a series is not found under another study
    assert images_in_archive(pacs, f"{STUDY}9", (DWI,)) == {}


def test_an_orthanc_that_does_not_know_us_costs_the_counts_alone(orthanc: Orthanc, short_tmp: Path) -> None:
    store(orthanc, short_tmp, DWI, 1)
    assert images_in_archive(settings_of(orthanc), STUDY, (DWI,)) == {}
