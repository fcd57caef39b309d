"""What `pirtad inspect` prints, in a terminal of 100 columns."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from pirtad.daemon.cli import tables
from pirtad.inference.dicom.choosing.inspection import ChosenRow, Inspection, Refusal, SeriesRow

COLUMNS = 100
ROW = SeriesRow(
    series_uid="1.2.12",
    series_number=12.0,
    description="ep2d_diff_3scan_trace_p2",
    modality="MR",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
    layout="single",
    kind="mixed",
    kinds=("b0", "direction"),
    because=(),
    b_values=(),
    n_files=340,
    n_images=340,
    shape=(64, 64, 20),
    spacing_mm=(3.5, 3.5, 4.2),
    chosen_as=(),
    rejected_code=None,
    rejected_because=None,
)
UIH = (
    "UIH b value (0065,1009) 1.25126",
    *(f"UIH b value (0065,1009) 929.75, UIH sequence (0065,102D) epi_dti_b1000#{n}" for n in range(7)),
)


def shown(*rows: SeriesRow, dwi: ChosenRow | None = None, refused: Refusal | None = None) -> list[str]:
    """The lines printed, without the spaces at their ends."""
    console = Console(width=COLUMNS, file=io.StringIO())
    with console.capture() as capture:
        console.print(tables.inspection(Inspection(dwi, None, rows, refused)))
    return [line.rstrip() for line in capture.get().splitlines()]


def because(*reasons: str, **fields: object) -> str:
    """What is said below the table about a series with these reasons."""
    (line,) = (
        line
        for line in shown(replace(ROW, because=reasons, **fields))
        if line.startswith("series 12:")  # type: ignore[arg-type]
    )
    return line.removeprefix("series 12:").strip()


def test_a_series_takes_one_line_of_the_table() -> None:
    lines = shown(replace(ROW, because=UIH, b_values=(1.25126, 929.75), chosen_as=("dwi", "adc")))
    assert lines[0].split() == ["nr", "description", "kind", "b", "slices", "voxel", "mm", "taken", "as"]
    assert lines[1].split("  ") == [
        *("12", "ep2d_diff_3scan_trace_p2", "b0 direction", "0 929.8", "20, 17 times", "3.5 3.5 4.2", "DWI AND ADC")
    ]
    assert lines[2] == ""


def test_long_names_and_many_b_values_fold_and_leave_the_rest_whole() -> None:
    row = replace(
        ROW,
        description="a name without any space that takes all of its sixty-four signs"[:64].replace(" ", "_"),
        kinds=("adc", "b0", "direction", "trace"),
        b_values=(0.0, *(100.0 * n for n in range(1, 12))),
        chosen_as=("dwi", "adc"),
    )
    text = shown(row)
    for whole in ("20, 17 times", "3.5 3.5 4.2", "DWI AND ADC", "direction", "1100"):
        assert any(whole in line for line in text), whole
    assert max(map(len, text)) <= COLUMNS


@pytest.mark.parametrize(
    ("stated", "groups"),
    [
        ((0.0, 0.001, 0.002, 0.004, 1000.0), "0 1000"),
        ((1.25126, 929.75), "0 929.8"),
        ((20.0, 21.0, 50.0), "0 21 50"),
        ((995.0, 1000.0, 1005.0, 1006.0), "1000 1006"),
        ((), ""),
    ],
)
def test_b_values_are_grouped(stated: tuple[float, ...], groups: str) -> None:
    line = shown(replace(ROW, b_values=stated))[1]
    assert line.partition("b0 direction")[2].partition("20, 17")[0].strip() == groups


def test_reasons_that_differ_by_a_number_are_one() -> None:
    assert because(*UIH) == "B0 and DIRECTION by UIH b value (0065,1009), sequence (0065,102D) epi_dti_b1000"
    assert because("DiffusionBValue 0", "DiffusionBValue 0.001", "DiffusionBValue 1e+03, Philips (2001,1004) O") == (
        "B0 and DIRECTION by DiffusionBValue, Philips (2001,1004) O"
    )


def test_a_value_that_all_images_share_is_told() -> None:
    said = because("DiffusionBValue 2500, ImageType TRACEW", "DiffusionBValue 2500", kinds=("trace",))
    assert said == "TRACE by DiffusionBValue 2500, ImageType TRACEW"
    assert because("the name says ADC", kinds=("adc",)) == "ADC: the name says ADC"


def test_of_many_reasons_three_are_shown() -> None:
    assert because(*(f"ImageType {name}" for name in "ABCDE")).endswith(
        "ImageType A, ImageType B, ImageType C and 2 more"
    )


def test_a_refused_series_says_what_it_is_and_why_it_was_not_taken() -> None:
    refused = Refusal("no_dwi", "no DWI series", "Look.")
    row = replace(ROW, because=("ImageType ADC",), kinds=("adc",), rejected_code="x", rejected_because="the reason")
    lines = shown(row, replace(row, series_number=13.0, series_uid="1.2.13", because=()), refused=refused)
    assert "series 12:  ADC by ImageType ADC; not taken: the reason" in lines
    assert "series 13:  not taken: the reason" in lines
    assert "not usable: no DWI series [no_dwi] Look." in lines


def test_series_of_one_number_are_told_apart_by_their_uids() -> None:
    lines = shown(ROW, replace(ROW, series_uid="1.2.99"))
    assert [line for line in lines if line.startswith("series")] == ["series 12:  UID 1.2.12", "series 12:  UID 1.2.99"]


def test_the_verdict_names_the_series_and_the_b_value_in_words() -> None:
    dwi = ChosenRow("1.2.12", "", "dwi", 929.7501831337527, (929.75,), True, "geometric mean of 16 directions", 320,
                    (64, 64, 20), (3.5, 3.5, 4.2), "arbitrary", ())  # fmt: skip
    other = replace(ROW, series_uid="1.2.13", series_number=13.0)
    text = " ".join(shown(ROW, other, dwi=dwi))
    assert "DWI: series 12, geometric mean of 16 directions, b 929.8 s/mm2; 64 x 64 x 20 voxels" in text


def test_what_a_name_would_do_to_the_terminal_is_not_done() -> None:
    assert "\x1b" not in "".join(shown(replace(ROW, description="[bold]\x1b[2J", because=("ImageType \x1b[2J",))))
    assert any("[bold]" in line for line in shown(replace(ROW, description="[bold]x")))
