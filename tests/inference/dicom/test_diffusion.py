"""What single headers are taken for; names and image types are those of real archives."""

from __future__ import annotations

import gzip
import json
from collections import Counter

import pytest
from pydicom import Dataset
from support.shared import shared_data

from pirtad.inference.dicom.diffusion import Kind, b_values_in_name, diffusion_of


def header(name: str, image_type: str = "", **attributes: object) -> Dataset:
    made = Dataset()
    made.SeriesDescription = name
    if image_type:
        made.ImageType = image_type.split("/")
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("name", "image_type", "kind"),
    [
        ("sB1000", "ORIGINAL/PRIMARY/M/SE/M/SE", Kind.DWI),
        ("sB 1000", "ORIGINAL/PRIMARY/M/SE/M/SE", Kind.DWI),
        ("sB1000", "DERIVED/PRIMARY/DIFFUSION/MIXED", Kind.DWI),
        ("sAX DWI b1000 CLEAR", "ORIGINAL/PRIMARY/M/SE/M/SE", Kind.DWI),
        ("dAX DWI b1000 CLEAR", "ORIGINAL/PRIMARY/ADC/SE/ADC/SE", Kind.ADC),
        ("dAX DWI b1000 CLEAR", "", Kind.UNCLEAR),
        ("B1000", "ORIGINAL/PRIMARY/OTHER", Kind.DWI),
        ("eDWI", "ORIGINAL/PRIMARY/OTHER", Kind.DWI),
        ("dADC", "ORIGINAL/PRIMARY/ADC/ADC/UNSPECIFIED", Kind.ADC),
        ("dADC", "DERIVED/PRIMARY/DIFFUSION/MIXED/REAL", Kind.ADC),
        ("ddADC", "ORIGINAL/PRIMARY/ADC/UNSPECIFIED/ADC/UNSPECIFIED", Kind.ADC),
        ("Apparent Diffusion Coefficient (mm2/s)", "DERIVED/PRIMARY/ADC/ADC", Kind.ADC),
        ("Apparent Diffusion Coefficient (mm2/s)", "", Kind.ADC),
        ("ep2d_diff_ADC", "DERIVED/PRIMARY/DIFFUSION/ADC/ND/NORM", Kind.ADC),
        ("ep2d_diff_TRACEW", "DERIVED/PRIMARY/DIFFUSION/TRACEW/ND/NORM", Kind.DWI),
        ("DWI_dir80_TENSOR_B0", "DERIVED/PRIMARY/DIFFUSION/TENSOR_B0", Kind.OTHER),
        ("ep2d_diff_FA", "DERIVED/PRIMARY/DIFFUSION/FA", Kind.OTHER),
        ("eADC", "DERIVED/PRIMARY/ADC", Kind.EXPONENTIAL_ADC),
        ("Exponential Apparent Diffusion Coefficient", "DERIVED/PRIMARY/EADC/EADC", Kind.EXPONENTIAL_ADC),
        ("AX DWI eADC", "", Kind.EXPONENTIAL_ADC),
        ("DWI", "DERIVED/PRIMARY/EADC", Kind.EXPONENTIAL_ADC),
        ("B1 map", "ORIGINAL/PRIMARY/M", Kind.OTHER),
        ("SAG T1 3D TFE", "ORIGINAL/PRIMARY/M/FFE/M/FFE", Kind.OTHER),
        ("cadaver study", "ORIGINAL/PRIMARY/M/SE", Kind.OTHER),
        ("sB1000 MPR", "DERIVED/SECONDARY/MPR", Kind.OTHER),
        ("", "", Kind.OTHER),
    ],
)
def test_kind(name: str, image_type: str, kind: Kind) -> None:
    assert diffusion_of(header(name, image_type)).kind is kind


def test_the_standard_header_comes_before_the_name() -> None:
    found = diffusion_of(header("sB1000", "ORIGINAL/PRIMARY/M", DiffusionBValue=0.0))
    assert (found.kind, found.b_value_s_per_mm2) == (Kind.DWI, 0.0)


@pytest.mark.parametrize(
    ("name", "image_type", "b_value", "kind"),
    [
        ("DWI + ADC", "ORIGINAL/PRIMARY/M/SE", 1000.0, Kind.DWI),
        ("DWI + ADC", "ORIGINAL/PRIMARY/M/SE", None, Kind.UNCLEAR),
        ("dADC", "DERIVED/PRIMARY/DIFFUSION", 1000.0, Kind.UNCLEAR),
        ("dADC", "ORIGINAL/PRIMARY/ADC", 1000.0, Kind.ADC),
    ],
)
def test_a_contradiction_is_not_decided(name: str, image_type: str, b_value: float | None, kind: Kind) -> None:
    made = header(name, image_type)
    if b_value is not None:
        made.DiffusionBValue = b_value
    assert diffusion_of(made).kind is kind


@pytest.mark.parametrize(
    ("sequence", "b_value", "isotropic"),
    [("*ep_b0", 0, None), ("*ep_b1000#3", 1000, False), ("ep_b1000t", 1000, True), ("*tse2d1_15", None, None)],
)
def test_siemens_sequence_names(sequence: str, b_value: float | None, isotropic: bool | None) -> None:
    found = diffusion_of(header("ep2d_diff", "ORIGINAL/PRIMARY/DIFFUSION", SequenceName=sequence))
    assert (found.b_value_s_per_mm2, found.isotropic) == (b_value, isotropic)


@pytest.mark.parametrize(
    ("attributes", "isotropic"),
    [
        ({"DiffusionDirectionality": "ISOTROPIC"}, True),
        ({"DiffusionDirectionality": "DIRECTIONAL"}, False),
        ({"DiffusionGradientOrientation": [0.0, 0.6, 0.8]}, False),
        ({"DiffusionGradientOrientation": [0.0, 0.0, 0.0]}, None),
        ({}, None),
    ],
)
def test_directions(attributes: dict[str, object], isotropic: bool | None) -> None:
    found = diffusion_of(header("DWI", "ORIGINAL/PRIMARY/M", DiffusionBValue=1000.0, **attributes))
    assert found.isotropic is isotropic


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sB1000", (1000,)),
        ("sB 1000", (1000,)),
        ("DWI b=1000", (1000,)),
        ("DWI Scans B0 B500 B1000", (0, 500, 1000)),
        ("sB0", (0,)),
        ("dAX DWI b1000 CLEAR", ()),
        ("eDWI", ()),
        ("B1 map", ()),
        ("DWI_b1000_", (1000,)),
    ],
)
def test_b_values_in_names(name: str, expected: tuple[float, ...]) -> None:
    assert b_values_in_name(header(name)) == expected


def test_a_whole_hospital() -> None:
    # Given 6860 real headers, 1715 patients: the folder says what the archive's people called each
    counted: Counter[tuple[str, str]] = Counter()
    with gzip.open(shared_data("soop/sidecars.jsonl.gz"), "rt") as lines:
        for line in lines:
            row = json.loads(line)
            made = header(row["SeriesDescription"], "/".join(row["ImageType"]), ProtocolName=row["ProtocolName"])
            if "SequenceName" in row:
                made.SequenceName = row["SequenceName"]
            path = row["_path"]
            label = "ADC" if "rec-ADC" in path else "TRACE" if "rec-TRACE" in path else "anatomy"
            counted[label, diffusion_of(made).kind] += 1

    # Then no anatomy is taken for diffusion and no trace for a map; the 34 "ADC" that are not are mislabelled
    # upstream: they are called sB0, B1000, eDWI, 'DWI Scans B0 B500 B1000' and carry no sign of a map
    assert counted == {
        ("ADC", Kind.ADC): 1681,
        ("ADC", Kind.DWI): 34,
        ("TRACE", Kind.DWI): 1715,
        ("anatomy", Kind.OTHER): 3430,
    }
