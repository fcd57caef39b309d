"""Datasets to Part 10 files in any transfer syntax that pydicom can write."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
)


def write(dataset: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write one instance; its pixel data is expected uncompressed and little endian. `dataset` is left as it is."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    if "PixelData" in dataset and syntax in (RLELossless, ExplicitVRBigEndian):
        dataset = deepcopy(dataset)
        if syntax == RLELossless:
            dataset.file_meta = meta
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset["PixelData"].VR = "OW"
            dataset.compress(RLELossless, generate_instance_uid=False)
        elif dataset.BitsAllocated == 16:
            dataset.PixelData = np.frombuffer(dataset.PixelData, dtype="<u2").astype(">u2").tobytes()
    dataset.file_meta = meta
    if "PixelData" in dataset and not syntax.is_compressed:
        dataset["PixelData"].VR = "OB" if dataset.get("BitsAllocated") == 8 and not syntax.is_implicit_VR else "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_all(datasets: list[Dataset], directory: Path, syntax: UID = ExplicitVRLittleEndian) -> list[Path]:
    """Write instances as numbered files, in the given order."""
    directory.mkdir(parents=True, exist_ok=True)
    return [write(dataset, directory / f"{number:04}.dcm", syntax) for number, dataset in enumerate(datasets)]
