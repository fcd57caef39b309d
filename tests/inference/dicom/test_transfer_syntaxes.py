"""One image in every coding: the same stored values come back, whatever the sign and the number of bits."""

from __future__ import annotations

import zipfile
from pathlib import Path

import gdcm
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)
from support.shared import shared_data

from pirtad.inference.dicom.frames import Instance
from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.dicom.reading.usability import undecodable
from pirtad.inference.dicom.volumes.pixels import stored_frames
from pirtad.inference.errors import StudyNotUsable

LOSSLESS_BY_PYDICOM = [
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian),
    *(RLELossless, JPEGLSLossless, JPEG2000Lossless),
]
ROWS, COLUMNS = 46, 38


def image(signed: bool, bits: int = 16) -> Dataset:
    """Every pixel differs from its neighbours; signed ones reach both ends of their range."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = np.linspace(low, high, ROWS * COLUMNS).round().astype(np.int64)
    np.random.default_rng(5).shuffle(values)
    kind = ("<i" if signed else "<u") + ("1" if bits == 8 else "2")
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.1", "1.2.2", "1.2.3"
    dataset.Modality = "MR"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (8 if bits == 8 else 16), bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.add_new("PixelData", "OB" if bits == 8 else "OW", values.astype(kind).tobytes())
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def written(dataset: Dataset, path: Path, syntax: UID) -> Path:
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def by_gdcm(source: Path, path: Path, syntax: gdcm.TransferSyntax.TSType) -> Path:
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path


def read(path: Path) -> tuple[Instance, np.ndarray]:
    (series,) = read_series([path])
    (instance,) = series.instances
    assert instance.problem is None
    ((index, values),) = stored_frames(instance, [0])
    assert index == 0
    return instance, values


@pytest.mark.parametrize("syntax", LOSSLESS_BY_PYDICOM, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize(("signed", "bits"), [(False, 16), (True, 16), (False, 12), (True, 12), (False, 8)])
def test_lossless_codings_give_the_same_values(tmp_path: Path, syntax: UID, signed: bool, bits: int) -> None:
    dataset = image(signed, bits)
    expected = dataset.pixel_array

    instance, values = read(written(dataset, tmp_path / "image.dcm", syntax))

    assert instance.transfer_syntax_uid == syntax
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("signed", [False, True])
def test_big_endian(tmp_path: Path, signed: bool) -> None:
    dataset = image(signed)
    expected = dataset.pixel_array
    dataset.add_new("PixelData", "OW", expected.astype(expected.dtype.newbyteorder(">")).tobytes())
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.save_as(tmp_path / "image.dcm", enforce_file_format=True)

    np.testing.assert_array_equal(read(tmp_path / "image.dcm")[1], expected)


@pytest.mark.parametrize("signed", [False, True])
def test_lossless_jpeg(tmp_path: Path, signed: bool) -> None:
    source = written(image(signed, 12), tmp_path / "native.dcm", ExplicitVRLittleEndian)
    path = by_gdcm(source, tmp_path / "image.dcm", gdcm.TransferSyntax.JPEGLosslessProcess14_1)

    instance, values = read(path)

    assert instance.transfer_syntax_uid == JPEGLosslessSV1
    np.testing.assert_array_equal(values, image(signed, 12).pixel_array)


def test_baseline_jpeg_comes_close(tmp_path: Path) -> None:
    # Given a smooth image, since a lossy coding keeps no noise
    dataset = image(False, 8)
    smooth = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)) * 3
    dataset.PixelData = smooth.astype(np.uint8).tobytes()
    source = written(dataset, tmp_path / "native.dcm", ExplicitVRLittleEndian)

    instance, values = read(by_gdcm(source, tmp_path / "image.dcm", gdcm.TransferSyntax.JPEGBaselineProcess1))

    assert instance.transfer_syntax_uid == JPEGBaseline8Bit
    assert np.abs(values.astype(int) - smooth).max() <= 4


def test_extended_jpeg_of_eight_bits(tmp_path: Path) -> None:
    # Given a baseline image; with the marker of an extended one (SOF1 for SOF0) it is one
    smooth = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)) * 3
    dataset = image(False, 8)
    dataset.PixelData = smooth.astype(np.uint8).tobytes()
    source = written(dataset, tmp_path / "native.dcm", ExplicitVRLittleEndian)
    baseline = dcmread(by_gdcm(source, tmp_path / "baseline.dcm", gdcm.TransferSyntax.JPEGBaselineProcess1))
    baseline.PixelData = baseline.PixelData.replace(b"\xff\xc0\x00\x0b", b"\xff\xc1\x00\x0b")
    baseline.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    baseline.save_as(tmp_path / "image.dcm", enforce_file_format=True)

    instance, values = read(tmp_path / "image.dcm")

    assert instance.transfer_syntax_uid == JPEGExtended12Bit
    assert b"\xff\xc1" in baseline.PixelData
    assert np.abs(values.astype(int) - smooth).max() <= 4


def test_extended_jpeg_of_twelve_bits_is_refused_by_name() -> None:
    # Given the one such image that comes with pydicom: no decoder with a permissive licence takes it
    path = get_testdata_file("JPEG-lossy.dcm", download=False)
    assert isinstance(path, str)
    (series,) = read_series([Path(path)])

    with pytest.raises(StudyNotUsable) as caught:
        list(stored_frames(series.instances[0], [0]))

    assert caught.value.code == "undecodable_instance"
    assert series.instances[0].sop_instance_uid in caught.value.reason
    assert "JPEG Extended" in caught.value.reason


@pytest.mark.parametrize("syntax", [HTJ2KLossless, "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"])
def test_high_throughput_jpeg_2000_has_a_decoder(syntax: str) -> None:
    assert undecodable(syntax) is None


def test_the_nine_codings_of_one_real_image(tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data("dicom/transfer_syntaxes.zip")) as archive:
        archive.extractall(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]

    (series,) = read_series(files)

    assert len(series.instances) == 9
    assert len({instance.transfer_syntax_uid for instance in series.instances}) == 7
    assert all(instance.problem is None for instance in series.instances)
    images = [values for one in series.instances for _, values in stored_frames(one, [0])]
    assert images[0].max() == 2362
    for other in images[1:]:
        np.testing.assert_array_equal(other, images[0])


def test_a_coding_without_a_decoder_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacking:
        is_available = False
        missing_dependencies = ("gdcm - requires gdcm>=3.0.10", "pylibjpeg - requires pylibjpeg>=2.0 and more")

    undecodable.cache_clear()
    monkeypatch.setattr("pirtad.inference.dicom.reading.usability.get_decoder", lambda uid: Lacking())
    problem = undecodable(JPEG2000Lossless)
    monkeypatch.undo()
    undecodable.cache_clear()

    assert problem is not None
    assert problem.code == "unsupported_transfer_syntax"
    assert "JPEG 2000" in problem.reason
    assert "install python-gdcm or pylibjpeg-openjpeg" in problem.reason


def test_a_coding_nobody_knows(tmp_path: Path) -> None:
    dataset, path = image(False), tmp_path / "image.dcm"
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    dataset.PixelData = encapsulate([b"film"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)

    (series,) = read_series([path])
    problem = series.instances[0].problem

    assert problem is not None
    assert problem.code == "unsupported_transfer_syntax"
    assert "MPEG2" in problem.reason
    with pytest.raises(StudyNotUsable) as caught:
        list(stored_frames(series.instances[0], [0]))
    assert caught.value.code == "unsupported_transfer_syntax"


@pytest.mark.parametrize("stated", ["", "DOE^JANE"])
def test_a_coding_that_is_none_is_not_repeated(stated: str) -> None:
    problem = undecodable(stated)

    assert problem is not None
    assert problem.reason == "transfer syntax without a valid UID cannot be decoded by any plug-in"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_pixel_data_that_ends_early(tmp_path: Path, syntax: UID, keep: float) -> None:
    dataset = image(False)
    header = 8 + len(written(image(False), tmp_path / "whole.dcm", ExplicitVRLittleEndian).read_bytes())
    header -= len(dataset.PixelData)
    path = written(dataset, tmp_path / "image.dcm", syntax)
    content = path.read_bytes()
    path.write_bytes(content[: header + round((len(content) - header) * keep)])

    (series,) = read_series([path])
    with pytest.raises(StudyNotUsable) as caught:
        list(stored_frames(series.instances[0], [0]))

    assert caught.value.code == "truncated_instance"
    assert "1.2.1" in caught.value.reason
