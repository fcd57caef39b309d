"""Stored values of single files: signs, bits, what is missing, and what is no longer what it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from pirtad.inference.dicom.frames import Instance
from pirtad.inference.dicom.volumes import stacked
from pirtad.inference.dicom.volumes.pixels import stored_frames
from pirtad.inference.dicom.volumes.stacked import volume_of
from pirtad.inference.errors import StudyNotUsable


def refused(instance: Instance) -> StudyNotUsable:
    with pytest.raises(StudyNotUsable) as caught:
        list(stored_frames(instance, [0]))
    assert instance.sop_instance_uid in caught.value.reason
    assert "DOE" not in caught.value.reason
    return caught.value


def test_signed_twelve_bit_pixels_are_read_as_such(study) -> None:
    # Given 12 stored bits, signed, with rubbish in the four unused ones
    before = volume_of(study.series()[2].frames).array

    def narrow(dataset: Dataset) -> None:
        shifted = (dataset.pixel_array.astype(np.int32) - 1000) & 0x0FFF | 0x5000
        dataset.PixelData = shifted.astype("<u2").tobytes()
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 1

    study.edit("dwi", narrow)

    np.testing.assert_array_equal(volume_of(study.series()[2].frames).array, before - 1000)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_truncated_pixel_data_is_refused_by_name(study, keep: float) -> None:
    victim = study.of_role("adc")[5]
    content, pixel_bytes = victim.read_bytes(), len(dcmread(victim).PixelData)
    victim.write_bytes(content[: len(content) - round(pixel_bytes * (1 - keep))])
    uid = dcmread(victim).SOPInstanceUID

    (instance,) = [one for one in study.series()[3].instances if one.sop_instance_uid == uid]

    assert refused(instance).code == "truncated_instance"


def test_a_file_exchanged_after_its_header_was_read_is_refused(study) -> None:
    found = study.series()
    instance = found[2].instances[0]
    instance.path.write_bytes(found[2].instances[1].path.read_bytes())

    assert refused(instance).code == "changed_instance"


def test_a_file_of_another_size_than_its_header_s_is_refused(study) -> None:
    frames = study.series()[2].frames

    def crop(dataset: Dataset) -> None:
        dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[:-2]).tobytes()
        dataset.Rows -= 2

    study.edit([frames[0].instance.path], crop)

    with pytest.raises(StudyNotUsable) as caught:
        volume_of(frames)
    assert caught.value.code == "changed_instance"


def test_a_file_that_vanished_is_no_fault_of_the_study(study) -> None:
    frames = study.series()[2].frames
    frames[0].instance.path.unlink()

    # A disk that is away: the study must wait, not be set aside.
    with pytest.raises(FileNotFoundError):
        volume_of(frames)


@pytest.mark.parametrize("attributes", [{"Rows": None}, {"BitsAllocated": 0}, {"BitsAllocated": 7}, {"BitsStored": 40}])
def test_a_header_that_describes_no_pixels(study, attributes: dict[str, object]) -> None:
    study.put(study.of_role("dwi")[:1], **attributes)
    uid = dcmread(study.of_role("dwi")[0]).SOPInstanceUID
    (instance,) = [one for one in study.series()[2].instances if one.sop_instance_uid == uid]

    assert refused(instance).code == "undecodable_instance"


def test_a_frame_that_is_not_there(study) -> None:
    instance = study.series()[2].instances[0]
    with pytest.raises(StudyNotUsable) as caught:
        list(stored_frames(instance, [0, 1]))
    assert caught.value.code == "undecodable_instance"


def test_each_file_is_opened_once(study, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    real = stored_frames

    def watched(instance: Instance, indices):
        opened.append(instance.path)
        return real(instance, indices)

    monkeypatch.setattr(stacked, "stored_frames", watched)
    frames = study.series()[2].frames

    volume_of(frames[::-1])

    assert sorted(opened) == sorted(frame.instance.path for frame in frames)
