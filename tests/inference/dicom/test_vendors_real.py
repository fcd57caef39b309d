"""The kinds and b values of real sets, as their makers' headers tell them."""

from __future__ import annotations

import zipfile
from collections import Counter
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from support.shared import shared_data

from pirtad.inference.dicom.kinds import Diffusion, Kind
from pirtad.inference.dicom.meaning.diffusion import diffusion_of


def real_headers(name: str) -> list[tuple[str, Dataset]]:
    """(member, header) of every DICOM file of a real set."""
    found = []
    with zipfile.ZipFile(shared_data(f"dicom/{name}.zip")) as archive:
        for member in sorted(archive.namelist()):
            if not member.endswith("/"):
                with archive.open(member) as stream:
                    found.append((member, dcmread(BytesIO(stream.read()), stop_before_pixels=True)))
    return found


def counted(headers: list[tuple[str, Dataset]]) -> dict[tuple[Kind, float | None], int]:
    found = [diffusion_of(header) for _, header in headers]
    return Counter(
        (one.kind, None if one.b_value_s_per_mm2 is None else round(one.b_value_s_per_mm2, 3)) for one in found
    )


REAL = {
    "dicom2nifti_ge_dti": {(Kind.B0, 0): 8, (Kind.DIRECTION, 1000): 8},
    "ge_headers_phantom": {(Kind.B0, 0): 2, (Kind.DIRECTION, 1000): 12},
    "siemens_e11_mosaic": {(Kind.B0, 0): 1, (Kind.DIRECTION, 1000): 12},
    "siemens_xa30_classic_phantom": {(Kind.ADC, None): 39, (Kind.TRACE, 2500): 39, (Kind.TENSOR, None): 39},
    "transfer_syntaxes": {(Kind.OTHER, None): 9},
    "uih_vframe": {(Kind.B0, 1.251): 1, (Kind.DIRECTION, 929.75): 16},
}


@pytest.mark.parametrize("name", REAL)
def test_real_sets(name: str) -> None:
    assert counted(real_headers(name)) == REAL[name]


def test_real_philips_set() -> None:
    # Given images among presentation states and Philips' own private objects, which hold no pixels
    images = [(name, header) for name, header in real_headers("philips_classic") if "ImageOrientationPatient" in header]
    b0 = {(Kind.B0, b_value): 32 for b_value in (0, 0.001, 0.002, 0.003, 0.004)}
    assert counted(images) == b0 | {(Kind.DIRECTION, 1000): 384}
    directions = {diffusion_of(header).direction for _, header in images}
    assert len(directions - {None}) == 12


def test_implicit_private_bytes_say_the_same_as_explicit_ones() -> None:
    def by_place(folder: str) -> list[Diffusion]:
        return [diffusion_of(header) for member, header in headers if f"/{folder}/" in f"/{member}"]

    headers = real_headers("dicom2nifti_ge_dti")
    assert len(by_place("001")) == 8
    assert by_place("001") == by_place("001_implicit")


def flattened(header: Dataset, index: int) -> Dataset:
    """One frame: what its functional groups say laid over the header."""
    flat = Dataset()
    flat.update({tag: header.get_item(tag) for tag in header.keys()})  # noqa: SIM118
    groups = [header.SharedFunctionalGroupsSequence[0], header.PerFrameFunctionalGroupsSequence[index]]
    for macro in (element.value for group in groups for element in group if element.VR == "SQ"):
        for tag in macro[0].keys() if len(macro) else ():
            flat[tag] = macro[0][tag]
    if "FrameType" in flat:
        flat.ImageType = flat.FrameType
    for item in flat.get("DiffusionGradientDirectionSequence", []):
        flat.DiffusionGradientOrientation = item.DiffusionGradientOrientation
    return flat


def test_real_enhanced_set() -> None:
    frames: Counter[tuple[str, Kind, float | None]] = Counter()
    for member, header in real_headers("siemens_xa30_enhanced"):
        for index in range(0, int(header.NumberOfFrames), 13):
            found = diffusion_of(flattened(header, index))
            series = next(part for part in member.split("/") if part.endswith("_PA"))
            frames[series.split("_")[0], found.kind, found.b_value_s_per_mm2] += 1
    assert frames == {
        ("10", Kind.B0, 0.0): 3,
        ("10", Kind.DIRECTION, 2500.0): 9,
        ("11", Kind.ADC, None): 3,
        ("12", Kind.TRACE, 2500.0): 3,
        ("16", Kind.TENSOR, None): 3,
    }
