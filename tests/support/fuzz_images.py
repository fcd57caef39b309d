"""Tiny images of every encoding and make, for associations to be recorded and datasets to be damaged."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from pirtad.daemon.part10 import Receipt, part10_start
from support.receiving import encoded, image

IMPLICIT = ImplicitVRLittleEndian
# DCMTK's storescu offers each by an option; "" where it does not.
SYNTAXES = {"implicit": "-xi", "explicit": "-xe", "big": "-xb", "deflated": "-xd", "jpeg": "-xs", "rle": "-xr"}
_UIDS = {
    "implicit": ImplicitVRLittleEndian, "explicit": ExplicitVRLittleEndian, "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian, "jpeg": JPEGLosslessSV1, "rle": RLELossless,
}  # fmt: skip


def rich(number: int = 1) -> Dataset:
    """An image with what makes headers hard to read, before the UIDs and behind them: sequences, private elements."""
    dataset = image(number, pixels=bytes(128))
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-A0100", "SRT", "Brain"
    item.PurposeOfReferenceCodeSequence = Sequence([code])
    for undefined, keyword in ((True, "ReferencedImageSequence"), (False, "AnatomicRegionSequence")):
        setattr(dataset, keyword, Sequence([item, Dataset()]))
        dataset[keyword].is_undefined_length = undefined
    item.is_undefined_length_sequence_item = True
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION"]
    dataset.Manufacturer = "Maker"
    block = dataset.private_block(0x0009, "MAKER HEADER", create=True)
    block.add_new(0x01, "UN", b"\x01\x02\x03\x04")
    block.add_new(0x02, "OB", bytes(30))
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.SamplesPerPixel = 8, 8, 16, 1
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    return dataset


def enhanced(number: int = 1) -> Dataset:
    dataset = rich(number)
    dataset.SOPClassUID = EnhancedMRImageStorage
    frames = []
    for position in range(3):
        plane, frame = Dataset(), Dataset()
        plane.ImagePositionPatient = [0.0, 0.0, float(position)]
        frame.PlanePositionSequence = Sequence([plane])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    dataset.NumberOfFrames = 3
    return dataset


def dataset_bytes(dataset: Dataset, syntax: str) -> bytes:
    """Encoded, without file meta."""
    if syntax in ("jpeg", "rle"):
        dataset["PixelData"].value = encapsulate([b"\xff\xd8\xff\xc3" + bytes(20) + b"\xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
    return encoded(
        dataset, implicit=syntax == "implicit", little=syntax != "big", deflated=syntax == "deflated"
    )  # fmt: skip


def uid_of(syntax: str) -> UID:
    return _UIDS[syntax]


def datasets() -> list[tuple[bytes, str]]:
    """(encoded dataset, transfer syntax UID) of every kind and encoding."""
    makers = (image, rich, enhanced)
    return [(dataset_bytes(make(), syntax), str(uid_of(syntax))) for syntax in SYNTAXES for make in makers]


def files_of(directory: Path) -> dict[str, Path]:
    """Folders of Part 10 files: several small images; one of each encoding; of 150 kB; of 80 kB before its UIDs."""
    folders = {name: directory / name for name in ("several", "each", "large")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for number in (1, 2, 3):
        _write(folders["several"] / f"{number}.dcm", image(number, pixels=bytes(120)), "explicit")
    for number, syntax in enumerate(SYNTAXES, start=10):
        make = enhanced if number % 2 else rich
        _write(folders["each"] / f"{syntax}.dcm", make(number), syntax)
    _write(folders["large"] / "large.dcm", image(4, pixels=bytes(range(256)) * 600), "explicit")
    deep = rich(5)
    deep[0x0009, 0x1002].value = bytes(80_000)  # the header is looked for in the first 64 KiB, and is behind them
    _write(folders["large"] / "deep.dcm", deep, "explicit")
    return folders


def _write(path: Path, dataset: Dataset, syntax: str) -> None:
    dataset.file_meta = FileMetaDataset()
    data = dataset_bytes(dataset, syntax)
    uids = (str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), str(uid_of(syntax)))
    receipt = Receipt(*uids, "FUZZ", len(data), 0.0, bytes(32))
    path.write_bytes(part10_start(receipt) + data)
