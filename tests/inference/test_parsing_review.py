"""The table a person decides in."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pirtad.inference.datasets.record import DatasetError
from pirtad.inference.datasets.reports_csv import read_reports, read_rows
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.parsing.review import COLUMNS, Decision, ReviewError, ReviewRow, read_review, write_review
from pirtad.inference.parsing.spreadsheet import from_cell, to_cell
from pirtad.inference.report.fake_model import FakeLanguageModel

CERTAIN = "Small focus of markedly restricted diffusion in the left occipital lobe."
OPEN = "Acute infarct in the left MCA territory."
GERMAN = "Keine frische Diffusionsrestriktion, kein Hinweis auf einen Infarkt."
LACUNE = Finding(Territory.DEEP_GRAY_MATTER, SignalClass.MILD, InfarctType.SMALL_LACUNE)
ROW = ReviewRow("hosp-1", OPEN, Territory.ANTERIOR, reasons="no word on the signal's strength")


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=300)
def test_a_cell_comes_back_and_is_no_formula(text: str) -> None:
    cell = to_cell(text)
    assert from_cell(cell) == text
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5))
@settings(max_examples=60, deadline=None)
def test_no_row_and_no_letter_is_lost(tmp_path_factory: pytest.TempPathFactory, reports: list[str]) -> None:
    path = tmp_path_factory.mktemp("review") / "review.csv"
    rows = [replace(ROW, case=f"hosp-{number}", report=report) for number, report in enumerate(reports)]
    write_review(path, rows)
    assert read_review(path) == rows


def edited(path: Path, **cells: str) -> Path:
    """The file as a person leaves it: cells of the first row filled in."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        heading, first, *others = list(csv.reader(file))
    first = [cells.get(name, cell) for name, cell in zip(heading, first, strict=True)]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows([heading, first, *others])  # as Excel does in many countries
    return path


@pytest.mark.parametrize(
    ("cells", "decision", "finding"),
    [
        ({}, Decision.WAITING, None),
        ({"accepted": "no"}, Decision.LEFT_OUT, None),
        ({"corrected_territory": "Normal"}, Decision.TAKEN, Finding(Territory.NORMAL)),
        (
            {"accepted": " YES ", "corrected_territory": "deep_gray_matter", "corrected_signal_class": "mild",
             "corrected_infarct_type": "Small Lacune"},
            Decision.TAKEN,
            LACUNE,
        ),
        (
            {"corrected_signal_class": "strong", "corrected_infarct_type": "large vascular territorial"},
            Decision.TAKEN,
            Finding(Territory.ANTERIOR, SignalClass.STRONG, InfarctType.LARGE_VASCULAR_TERRITORIAL),
        ),
    ],
)  # fmt: skip
def test_what_the_person_says_is_applied(
    tmp_path: Path, cells: dict[str, str], decision: Decision, finding: Finding | None
) -> None:
    write_review(tmp_path / "review.csv", [ROW])
    (row,) = read_review(edited(tmp_path / "review.csv", **cells))
    assert (row.decision, row.finding, row.report) == (decision, finding, OPEN)


@pytest.mark.parametrize(
    "cells",
    [
        {"accepted": "maybe"},
        {"accepted": "yes"},  # the proposal is not whole
        {"corrected_territory": "Jane Example"},
        {"corrected_infarct_type": "lacune"},
        {"corrected_territory": "normal", "corrected_signal_class": "mild"},
        {"case": " "},
        {"case": "HOSP-2"},
    ],
)
def test_what_makes_no_finding_is_refused_with_its_row(tmp_path: Path, cells: dict[str, str]) -> None:
    write_review(tmp_path / "review.csv", [ROW, replace(ROW, case="hosp-2")])
    with pytest.raises(ReviewError, match=r"review\.csv: row [23]: ") as refused:
        read_review(edited(tmp_path / "review.csv", **cells))
    assert "Example" not in str(refused.value)
    assert "maybe" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "case,report\n", "\xff", ",".join((*COLUMNS, "mine")) + "\n"])
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "review.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ReviewError):
        read_review(tmp_path / "review.csv")


def test_a_report_that_excel_would_cut_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="row 2"):
        write_review(tmp_path / "review.csv", [replace(ROW, report="x" * 40_000)])
    assert list(tmp_path.iterdir()) == []


def hospital(folder: Path) -> Path:
    path = folder / "hospital.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [("case", "report", "patient"), ("hosp-1", CERTAIN, "4711"), ("hosp-2", OPEN, "4712"),
             ("hosp-3", GERMAN, "4713")]
        )  # fmt: skip
    return path


def test_a_hospital_table_goes_round(tmp_path: Path) -> None:
    table, review = hospital(tmp_path), tmp_path / "review.csv"
    # Given a table with reports alone, the certain one is taken and the others wait
    first = read_reports(table, review)
    assert [row.name for row in first.rows] == ["hosp-1"]
    assert first.rows[0].finding.territory is Territory.POSTERIOR
    assert first.rows[0].report == CERTAIN
    assert first.not_taken == {"hosp-2", "hosp-3"}
    assert [row.case for row in read_review(review)] == ["hosp-2", "hosp-3"]
    # and nobody's hospital number is in the file
    assert "471" not in review.read_text(encoding="utf-8-sig")
    # When a person decides on one of them, then it is taken too and the other still waits
    edited(review, corrected_signal_class="mild", corrected_infarct_type="large vascular territorial")
    before = review.read_bytes()
    second = read_reports(table, review)
    assert [row.name for row in second.rows] == ["hosp-1", "hosp-2"]
    assert second.triage.by_rules == 1
    assert second.triage.waiting == ("hosp-3",)
    assert review.read_bytes() == before
    # and a new report joins without disturbing what was decided
    with table.open("a", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow(("hosp-4", OPEN, "4714"))
    read_reports(table, review)
    assert [(row.case, row.decision) for row in read_review(review)] == [
        ("hosp-2", Decision.TAKEN),
        ("hosp-3", Decision.WAITING),
        ("hosp-4", Decision.WAITING),
    ]


def test_another_report_than_the_reviewed_one_is_refused(tmp_path: Path) -> None:
    table, review = hospital(tmp_path), tmp_path / "review.csv"
    read_reports(table, review)
    table.write_text(table.read_text(encoding="utf-8").replace("left MCA", "right PCA"), encoding="utf-8")
    with pytest.raises(DatasetError, match="hosp-2"):
        read_reports(table, review)


def test_the_model_is_asked_only_where_the_rules_can_not_tell(tmp_path: Path) -> None:
    model = FakeLanguageModel(
        ['{"territory": "normal", "signal_class": "not told", "infarct_type": "not told", '
         '"quote": "Keine frische Diffusionsrestriktion"}']
    )  # fmt: skip
    read = read_reports(hospital(tmp_path), tmp_path / "review.csv", model)
    assert len(model.requests) == 1
    assert [row.name for row in read.rows] == ["hosp-1"]
    by_case = {row.case: row for row in read_review(tmp_path / "review.csv")}
    assert by_case["hosp-3"].territory is Territory.NORMAL
    assert "fake" in by_case["hosp-3"].reasons


def test_a_refused_answer_leaves_the_case_to_a_person(tmp_path: Path) -> None:
    read = read_reports(hospital(tmp_path), tmp_path / "review.csv", FakeLanguageModel(["not JSON"]))
    assert read.not_taken == {"hosp-2", "hosp-3"}


def test_structured_rows_and_reports_may_stand_together(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_text(
        "case,territory,signal_class,infarct_type,report\n"
        f'hosp-1,posterior,mild,small lacune,"{OPEN}"\nhosp-2,,,,"{CERTAIN}"\nhosp-3,,,,"{OPEN}"\n',
        encoding="utf-8",
    )
    read = read_reports(path, tmp_path / "review.csv")
    assert [(row.name, row.finding.territory) for row in read.rows] == [
        ("hosp-1", Territory.POSTERIOR),
        ("hosp-2", Territory.POSTERIOR),
    ]
    path.write_text("case,territory,report\nhosp-1,,\nhosp-2,anterior,x\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"mixed\.csv:2(.|\n)*mixed\.csv:3"):
        read_reports(path, tmp_path / "review.csv")


def test_reports_alone_need_a_review_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no column territory; reports alone need a review file"):
        read_rows(hospital(tmp_path))
