"""Cases with their images, from a table or a public set, encoded. Imported only when `pirtad cases` runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer
from numpy.typing import NDArray

from pirtad.daemon.cli.nifti import prepare_nifti
from pirtad.daemon.cli.offline import study_files
from pirtad.inference.datasets.diffusion_archive import read_archive
from pirtad.inference.datasets.isles import isles2022
from pirtad.inference.datasets.record import DatasetError, DicomStudy, DiffusionArchive, Found, Images, NiftiPair
from pirtad.inference.datasets.reports_csv import Reports, matched, own_images, read_reports, read_rows
from pirtad.inference.datasets.reports_csv import Row as ReportRow
from pirtad.inference.datasets.soop import soop
from pirtad.inference.datasets.ukb import ukb
from pirtad.inference.dicom.choosing.rules import SelectionRules
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.prepare import prepare
from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.patients import Pseudonyms

if TYPE_CHECKING:
    from pirtad.inference.models.encoder import Encoder  # torch: only what calls us needs it
    from pirtad.inference.report.language_model import LanguageModel

_DEFAULT_B_S_PER_MM2 = 1000.0


class TableError(Exception):
    """Cases that can't be used; the text names each, with its line number where it has one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One case and where its images are; paths are absolute or relative to the current directory.

    hospital_number: the patient's, as the table says it; it becomes a pseudonym and goes no further.
    """

    place: str
    case: Case
    images: Images
    hospital_number: str | None = field(default=None, repr=False)


def read_table(table: Path, review: Path | None = None, model: LanguageModel | None = None) -> list[Row]:
    """The cases of a JSON Lines or CSV table (datasets.reports_csv).

    review: file for the reports of a CSV table that a person must decide on; their cases are left out until it is
    filled in, and how many is told on standard error. model: proposes a reading where the rules can't tell.
    TableError, with the line's number, if one is wrong or stands there twice, and while every report waits.
    """
    if table.suffix.lower() == ".csv":
        rows = _csv_rows(table, review, model)
    elif review is None:
        rows = _json_rows(table)
    else:
        raise TableError(f"{table.name}: only the reports of a CSV table are reviewed")
    seen: dict[str, str] = {}
    for row in rows:
        if row.case.case_id in seen:
            raise TableError(f"{row.place}: {row.case.case_id} stands on {seen[row.case.case_id]} already")
        seen[row.case.case_id] = row.place
    if not rows:
        raise TableError(f"{table.name}: no case in it")
    return rows


def read_layout(
    layout: str,
    root: Path,
    reports: Path,
    pseudonyms: Pseudonyms,
    review: Path | None = None,
    model: LanguageModel | None = None,
) -> list[Row]:
    """The cases of a public set below `root`, `layout` being "isles2022", "soop" or "ukb", with findings from a CSV.

    review, model: as `read_table` has them. Subjects that lack an image are told on standard error. TableError that
    lists what does not fit together.
    """
    try:
        found = _found(layout, root, pseudonyms)
        rows, not_taken = _listed(reports, review, model)
        joined = matched(found, rows, not_taken)
    except DatasetError as error:
        raise TableError(str(error)) from error
    for name, lacks in found.incomplete.items():
        typer.echo(f"{name}: passed over, {lacks}", err=True)
    return [Row(case.case_id, case, images) for case, images in joined]


def encode(
    rows: Sequence[Row], encoder: Encoder, rules: SelectionRules, pseudonyms: Pseudonyms
) -> tuple[list[Case], NDArray[np.float32]]:
    """The cases and their vectors, float32 (N, D) of unit length, row n belonging to case n.

    A case whose patient the table or its images' headers name gets the pseudonym. Raises TableError that names every
    case that can't be used: a case base with silent gaps would be a worse one.
    """
    cases, vectors, problems = [], [], []
    for number, row in enumerate(rows, start=1):
        try:
            array, hospital_number = _network_input(row.images, rules)
            vectors.append(encoder.encode(array))
            cases.append(_with_patient(row, hospital_number, pseudonyms))
        except (StudyNotUsable, FileNotFoundError) as error:
            told = f"{error.reason} [{error.code}]" if isinstance(error, StudyNotUsable) else "a file is not there"
            problems.append(f"{row.place}: {row.case.case_id}: {told}")
        typer.echo(f"\r{number} of {len(rows)} encoded", nl=number == len(rows), err=True)
    if problems:
        raise TableError("\n".join(problems))
    return cases, np.stack(vectors)


def _network_input(images: Images, rules: SelectionRules) -> tuple[NDArray[np.float32], str | None]:
    if isinstance(images, NiftiPair):
        return prepare_nifti(images.dwi, images.adc, images.b_value_s_per_mm2).network_input.array, None
    if isinstance(images, DiffusionArchive):
        return preprocess(read_archive(images.path)).array, None
    prepared = prepare(study_files(images.folder), rules)
    if prepared.registry.is_minor:
        raise StudyNotUsable("not_adult", "the patient is a minor", "The case base is for drafts on adults.")
    return prepared.network_input.array, prepared.patient_id


def _with_patient(row: Row, from_header: str | None, pseudonyms: Pseudonyms) -> Case:
    number = row.hospital_number or from_header
    return row.case if number is None else replace(row.case, patient=pseudonyms.of(number))


def _found(layout: str, root: Path, pseudonyms: Pseudonyms) -> Found:
    if layout == "ukb":
        return ukb(root, pseudonyms)
    return {"isles2022": isles2022, "soop": soop}[layout](root)


def _listed(table: Path, review: Path | None, model: LanguageModel | None) -> tuple[list[ReportRow], frozenset[str]]:
    """A CSV table's rows to take, and the names, casefolded, of those that a person has not let in."""
    if review is None:
        return read_rows(table), frozenset()
    found = read_reports(table, review, model)
    _tell_review(found, review)
    if not found.rows:
        raise TableError(f"{table.name}: no case can be taken yet; fill in {review.name} and call again")
    return found.rows, found.not_taken


def _tell_review(found: Reports, review: Path) -> None:
    sorted_out = found.triage
    reviewed = len(sorted_out.findings) - sorted_out.by_rules
    typer.echo(
        f"reports: {sorted_out.by_rules} taken by rules, {reviewed} as reviewed, {len(sorted_out.left_out)} left out "
        f"by the reviewer, {len(sorted_out.waiting)} wait in {review.name}",
        err=True,
    )


def _csv_rows(table: Path, review: Path | None, model: LanguageModel | None) -> list[Row]:
    rows, problems = [], []
    try:
        listed, _ = _listed(table, review, model)
    except DatasetError as error:
        raise TableError(str(error)) from error
    for row in listed:
        try:
            case, images = own_images(row, table.parent, None)
        except DatasetError as error:
            problems.append(str(error))
        except ValueError as error:
            problems.append(f"{row.place}: {error}")
        else:
            rows.append(Row(row.place, case, images, row.cells.get("patient") or None))
    if problems:
        raise TableError("\n".join(problems))
    return rows


def _json_rows(table: Path) -> list[Row]:
    lines = enumerate(table.read_text(encoding="utf-8").splitlines(), start=1)
    return [_json_row(table, line, text) for line, text in lines if text.strip()]


def _json_row(table: Path, line: int, text: str) -> Row:
    place = f"{table.name}:{line}"
    try:
        raw = json.loads(text)
        # In a table "patient" is a hospital number; in a case base it is a pseudonym.
        patient = raw.pop("patient", None)
        case = Case.from_json(json.dumps(raw))
        study, dwi, adc = (table.parent / raw[key] if key in raw else None for key in ("study", "dwi", "adc"))
        b_value = float(raw.get("b_value", _DEFAULT_B_S_PER_MM2))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(f"{place}: not a case ({type(error).__name__}: {error})") from error
    number = None if patient is None else str(patient).strip() or None
    if study is not None and dwi is None and adc is None:
        return Row(place, case, DicomStudy(study), number)
    if study is not None or dwi is None or adc is None:
        raise TableError(f'{place}: needs either "study", or "dwi" and "adc"')
    return Row(place, case, NiftiPair(dwi, adc, b_value), number)
