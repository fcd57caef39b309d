"""`pirtad cases build` from a hospital's table of reports: what is taken, what waits."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pirtad.daemon.cli.case_table import TableError, read_layout, read_table
from pirtad.inference.findings import Territory
from pirtad.inference.retrieval.patients import Pseudonyms

CERTAIN = "Small focus of markedly restricted diffusion in the left occipital lobe."
OPEN = "Acute infarct in the left MCA territory."
SALT = Pseudonyms("0f" * 16)


def table(folder: Path, *lines: tuple[str, ...]) -> Path:
    with (folder / "reports.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)
    return folder / "reports.csv"


def test_certain_reports_are_taken_and_the_others_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(
        tmp_path,
        ("case", "report", "patient", "dwi", "adc"),
        ("hosp-1", CERTAIN, "4711", "a.nii", "b.nii"),
        ("hosp-2", OPEN, "4712", "c.nii", "d.nii"),
    )
    (row,) = read_table(path, tmp_path / "review.csv")
    assert (row.case.case_id, row.case.finding.territory, row.case.report) == ("hosp-1", Territory.POSTERIOR, CERTAIN)
    assert row.hospital_number == "4711"
    told = capsys.readouterr().err
    assert told == "reports: 1 taken by rules, 0 as reviewed, 0 left out by the reviewer, 1 wait in review.csv\n"


def test_nothing_to_take_yet_is_said_after_the_review_file_is_there(tmp_path: Path) -> None:
    path = table(tmp_path, ("case", "report", "dwi", "adc"), ("hosp-2", OPEN, "c.nii", "d.nii"))
    with pytest.raises(TableError, match=r"fill in review\.csv"):
        read_table(path, tmp_path / "review.csv")
    assert (tmp_path / "review.csv").exists()


def test_without_a_review_file_reports_alone_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path, ("case", "report", "dwi", "adc"), ("hosp-2", OPEN, "c.nii", "d.nii"))
    with pytest.raises(TableError, match="--review"):
        read_table(path)


def test_json_lines_have_no_review(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(TableError, match="CSV"):
        read_table(tmp_path / "cases.jsonl", tmp_path / "review.csv")


def test_a_public_set_passes_over_what_waits_and_nothing_else(tmp_path: Path) -> None:
    # Given a set of two subjects, one report certain and one not
    for number in (1, 3):
        for kind in ("TRACE", "ADC"):
            image = tmp_path / f"set/sub-{number}/dwi/sub-{number}_rec-{kind}_dwi.nii.gz"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
    path = table(tmp_path, ("case", "report"), ("sub-1", CERTAIN), ("sub-3", OPEN))
    # Then the one that waits is no gap
    (row,) = read_layout("soop", tmp_path / "set", path, SALT, tmp_path / "review.csv")
    assert row.case.case_id == "soop-1"
    # but a subject that stands nowhere still is
    path = table(tmp_path, ("case", "report"), ("sub-1", CERTAIN))
    with pytest.raises(TableError, match="sub-3: no row"):
        read_layout("soop", tmp_path / "set", path, SALT, tmp_path / "review.csv")
