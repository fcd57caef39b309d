"""What a series' name adds to what its headers say."""

from __future__ import annotations

import pytest

from pirtad.inference.dicom.kinds import Diffusion, Kind
from pirtad.inference.dicom.meaning.diffusion import b_values_in_name, settle


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sB1000", (1000,)),
        ("sB 1000", (1000,)),
        ("DWI b=1000", (1000,)),
        ("DWI Scans B0 B500 B1000", (0, 500, 1000)),
        ("ep2d_diff_b50_400_800", (50, 400, 800)),
        ("DWI b0/1000", (0, 1000)),
        ("DWI b1000 5mm", (1000,)),
        ("sB0", (0,)),
        ("dAX DWI b1000 CLEAR", ()),
        ("eDWI", ()),
        ("B1 map", ()),
        ("B0 map", ()),
        ("DWI_b1000_", (1000,)),
    ],
)
def test_b_values_in_names(name: str, expected: tuple[float, ...]) -> None:
    assert b_values_in_name(name) == expected


TRACE, ADC, UNKNOWN = Diffusion(Kind.TRACE), Diffusion(Kind.ADC), Diffusion(Kind.DWI)
B0 = Diffusion(Kind.B0, 0.0)
STATED = Diffusion(Kind.DWI, 900.0)


@pytest.mark.parametrize(
    ("found", "name", "kinds", "b_values"),
    [
        ([TRACE, TRACE], "sB1000", [Kind.TRACE, Kind.TRACE], [1000, 1000]),
        ([UNKNOWN], "sB0", [Kind.B0], [0]),
        ([UNKNOWN, STATED], "DWI b1000", [Kind.DWI, Kind.DWI], [None, 900]),
        ([UNKNOWN, B0], "DWI b1000", [Kind.DWI, Kind.B0], [None, 0]),
        ([UNKNOWN], "DWI Scans B0 B500 B1000", [Kind.DWI], [None]),
        ([UNKNOWN], "DWI", [Kind.DWI], [None]),
        ([ADC, UNKNOWN], "DWI b1000", [Kind.ADC, Kind.DWI], [None, 1000]),
        ([Diffusion(Kind.OTHER), Diffusion(Kind.UNCLEAR)], "b1000", [Kind.OTHER, Kind.UNCLEAR], [None, None]),
        ([], "sB1000", [], []),
    ],
)
def test_a_series_is_settled_by_its_name_last(
    found: list[Diffusion], name: str, kinds: list[Kind], b_values: list[float | None]
) -> None:
    settled = settle(found, name)
    assert [one.kind for one in settled] == kinds
    assert [one.b_value_s_per_mm2 for one in settled] == b_values
