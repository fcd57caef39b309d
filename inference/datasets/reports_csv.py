"""Findings and reports from a CSV file, and the images that its rows name.

Columns, in any order and any case: `case`, `territory`, `signal_class`, `infarct_type`, and if there are any `report`,
`provenance`, `patient`, and for images of one's own `study` (a folder with DICOM, or with one DWI and one ADC map as
NIfTI), or `dwi` and `adc` with `b_value`. UTF-8, with or without a byte order mark.
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
from pirtad.inference.retrieval.case import Case

_NEEDED = ("case", "territory")
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


def read_rows(path: Path) -> list[Row]:
    """The rows. DatasetError that names every line with a mistake, and a case that stands there twice."""
    csv.field_size_limit(_NEVER_IN_A_CSV_FIELD)
    problems: list[str] = []
    rows: dict[str, Row] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            if missing := [name for name in _NEEDED if name not in reader.fieldnames]:
                raise DatasetError(f"{path.name}: no column {', '.join(missing)}")
            for raw in reader:
                place = f"{path.name}:{reader.line_num}"
                cells = {key: value.strip() for key, value in raw.items() if key and isinstance(value, str)}
                try:
                    row = Row(place, cells["case"], _finding(cells), cells)
                except (KeyError, ValueError):
                    # Not the error's own text: a cell that slipped into the wrong column may be a name.
                    problems.append(f"{place}: no territory, signal_class and infarct_type that go together")
                    continue
                key = row.name.casefold()
                if not key or key in rows:
                    problems.append(f"{place}: no case" if not key else f"{place}: this case stands there twice")
                    continue
                rows[key] = row
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path.name}: not a CSV file in UTF-8 ({type(error).__name__})") from error
    if problems or not rows:
        raise DatasetError("\n".join(problems) or f"{path.name}: no case in it")
    return list(rows.values())


def matched(found: Found, rows: Iterable[Row]) -> list[tuple[Case, Images]]:
    """Each case of a set with its finding and report.

    Raises DatasetError that lists every case without a row and every row without a case or without all its images: a
    case base with silent gaps would be a worse one.
    """
    by_name = {row.name.casefold(): row for row in rows}
    problems, taken, joined = [], set(), []
    for image_case in found.cases:
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
