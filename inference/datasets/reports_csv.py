"""Findings and reports from a CSV file, and the images that its rows name.

Columns, in any order and any case: `case`, `territory`, `signal_class`, `infarct_type`, and if there are any `report`,
`provenance`, `patient`, and for images of one's own `study` (a folder with DICOM, or with one DWI and one ADC map as
NIfTI), or `dwi` and `adc` with `b_value`. UTF-8, with or without a byte order mark.

Where a row has a report and no territory (or the table no such column), `read_reports` parses the report; what the
rules are not certain of waits in a review file for a person and is left out meanwhile.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pirtad.inference.datasets.record import (
    PUBLIC_B_S_PER_MM2,
    DatasetError,
    DicomStudy,
    Found,
    Images,
    NiftiPair,
    images_below,
    report_of,
    stem_of,
)
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.parsing.review import ReviewError
from pirtad.inference.parsing.triage import Triage, triage
from pirtad.inference.report.language_model import LanguageModel
from pirtad.inference.retrieval.case import Case

_STRUCTURED = ("territory", "signal_class", "infarct_type")
_NEVER_IN_A_CSV_FIELD = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the file: place such as "reports.csv:7" for messages; cells by column in lower case."""

    place: str
    name: str = field(repr=False)
    finding: Finding
    cells: dict[str, str] = field(repr=False)

    @property
    def report(self) -> str:
        """As written, or the structured finding where nothing is."""
        return self.cells.get("report") or report_of(self.finding)


@dataclass(frozen=True, slots=True)
class Reports:
    """rows: the cases to take. triage: of the rows that are free text; what waits and what a person left out."""

    rows: list[Row]
    triage: Triage

    @property
    def not_taken(self) -> frozenset[str]:
        """Names, casefolded, of the cases that stand in the table and are not taken."""
        return frozenset(name.casefold() for name in (*self.triage.waiting, *self.triage.left_out))


@dataclass(frozen=True, slots=True)
class _Line:
    place: str
    name: str = field(repr=False)
    cells: dict[str, str] = field(repr=False)

    @property
    def is_free_text(self) -> bool:
        return bool(self.cells.get("report")) and not any(self.cells.get(name) for name in _STRUCTURED)


def read_rows(path: Path) -> list[Row]:
    """The rows, each with its structured finding.

    DatasetError that names every line with a mistake, and a case that stands there twice.
    """
    lines, problems = _lines(path, ("case", "territory"))
    return _structured(path, lines, problems)


def read_reports(path: Path, review: Path, model: LanguageModel | None = None) -> Reports:
    """The rows whose finding is known: written in the table, certain by rules, or decided in the file `review`.

    The other reports are added to `review`. model: proposes where the rules can't tell. Raises DatasetError as
    `read_rows` does and for a review file that can't be used, and what parsing.triage.triage raises of the model.
    """
    lines, problems = _lines(path, ("case", "report"))
    free = [line for line in lines if line.is_free_text]
    known = [line for line in lines if not line.is_free_text]
    rows = _structured(path, known, problems) if known or problems else []
    if not lines:
        raise DatasetError(f"{path.name}: no case in it")
    try:
        sorted_out = triage(((line.name, line.cells["report"]) for line in free), review, model)
    except ReviewError as error:
        raise DatasetError(str(error)) from error
    found = {row.name: row for row in rows}
    found |= {
        line.name: Row(line.place, line.name, sorted_out.findings[line.name], line.cells)
        for line in free
        if line.name in sorted_out.findings
    }
    return Reports([found[line.name] for line in lines if line.name in found], sorted_out)


def _lines(path: Path, needed: tuple[str, ...]) -> tuple[list[_Line], list[str]]:
    csv.field_size_limit(_NEVER_IN_A_CSV_FIELD)
    problems: list[str] = []
    lines: dict[str, _Line] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            if missing := [name for name in needed if name not in reader.fieldnames]:
                reports_alone = "territory" in missing and "report" in reader.fieldnames
                hint = "; reports alone need a review file (--review)" if reports_alone else ""
                raise DatasetError(f"{path.name}: no column {', '.join(missing)}{hint}")
            for raw in reader:
                place = f"{path.name}:{reader.line_num}"
                cells = {key: value.strip() for key, value in raw.items() if key and isinstance(value, str)}
                key = cells.get("case", "").casefold()
                if not key or key in lines:
                    problems.append(f"{place}: no case" if not key else f"{place}: this case stands there twice")
                    continue
                lines[key] = _Line(place, cells["case"], cells)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path.name}: not a CSV file in UTF-8 ({type(error).__name__})") from error
    return list(lines.values()), problems


def _structured(path: Path, lines: Iterable[_Line], problems: list[str]) -> list[Row]:
    rows = []
    for line in lines:
        try:
            rows.append(Row(line.place, line.name, _finding(line.cells), line.cells))
        except (KeyError, ValueError):
            # Not the error's own text: a cell that slipped into the wrong column may be a name.
            problems.append(f"{line.place}: no territory, signal_class and infarct_type that go together")
    if problems or not rows:
        raise DatasetError("\n".join(problems) or f"{path.name}: no case in it")
    return rows


def matched(found: Found, rows: Iterable[Row], not_taken: frozenset[str] = frozenset()) -> list[tuple[Case, Images]]:
    """Each case of a set with its finding and report. not_taken: names, casefolded, that are passed over knowingly.

    Raises DatasetError that lists every case without a row and every row without a case or without all its images: a
    case base with silent gaps would be a worse one.
    """
    by_name = {row.name.casefold(): row for row in rows}
    problems, taken, joined = [], set(), []
    for image_case in found.cases:
        if any(name.casefold() in not_taken for name in image_case.names):
            continue
        names = [name.casefold() for name in image_case.names if name.casefold() in by_name]
        if len(names) != 1:
            problems.append(f"{image_case.names[0]}: {'several rows' if names else 'no row with its finding'}")
            taken.update(names)
            continue
        row = by_name[names[0]]
        taken.add(names[0])
        joined.append((_case(image_case.case_id, image_case.patient, image_case.provenance, row), image_case.images))
    incomplete = {name.casefold(): lacks for name, lacks in found.incomplete.items()}
    problems += [
        f"{row.place}: {row.name}: {incomplete.get(name, 'not in the folder')}"
        for name, row in by_name.items()
        if name not in taken
    ]
    if problems:
        raise DatasetError("\n".join(problems))
    return joined


def own_images(row: Row, folder: Path, patient: str | None) -> tuple[Case, Images]:
    """A row that names its own images, paths relative to `folder`; `case` is the case_id.

    Raises DatasetError for a row without images, and ValueError for a case_id of another form.
    """
    provenance = row.cells.get("provenance") or "hospital table"
    return _case(row.name, patient, provenance, row), _images(row, folder)


def _images(row: Row, folder: Path) -> Images:
    study, dwi, adc = (row.cells.get(column) for column in ("study", "dwi", "adc"))
    try:
        b_value = float(row.cells.get("b_value") or PUBLIC_B_S_PER_MM2)
    except ValueError as error:
        raise DatasetError(f"{row.place}: b_value is no number") from error
    if study and not dwi and not adc:
        return _study(row, folder / study, b_value)
    if study or not dwi or not adc:
        raise DatasetError(f"{row.place}: needs either study, or dwi and adc")
    return NiftiPair(folder / dwi, folder / adc, b_value)


def _study(row: Row, folder: Path, b_value_s_per_mm2: float) -> Images:
    if not folder.is_dir():
        raise DatasetError(f"{row.place}: study is no folder")
    images = images_below(folder)
    if not images:
        return DicomStudy(folder)
    adc = [path for path in images if "adc" in stem_of(path)]
    dwi = [path for path in images if path not in adc and ("dwi" in stem_of(path) or "trace" in stem_of(path))]
    if len(adc) != 1 or len(dwi) != 1:
        raise DatasetError(f"{row.place}: {len(dwi)} DWI and {len(adc)} ADC maps by name, wanted one of each")
    return NiftiPair(dwi[0], adc[0], b_value_s_per_mm2)


def _finding(cells: dict[str, str]) -> Finding:
    signal_class, infarct_type = cells.get("signal_class"), cells.get("infarct_type")
    return Finding(
        Territory(cells["territory"].lower()),
        SignalClass(signal_class.lower()) if signal_class else None,
        InfarctType(infarct_type.lower()) if infarct_type else None,
    )


def _case(case_id: str, patient: str | None, provenance: str, row: Row) -> Case:
    return Case(case_id, row.finding, row.report, provenance, patient)
