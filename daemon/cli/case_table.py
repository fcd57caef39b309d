"""A table of cases, encoded. Imported only when `pirtad cases build` or `add` runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer
from numpy.typing import NDArray

from pirtad.daemon.cli.nifti import prepare_nifti
from pirtad.daemon.cli.offline import study_files
from pirtad.inference.dicom.choosing.rules import SelectionRules
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.prepare import prepare
from pirtad.inference.prepared import Prepared
from pirtad.inference.retrieval.case import Case

if TYPE_CHECKING:
    from pirtad.inference.models.encoder import Encoder  # torch: only what calls us needs it

_DEFAULT_B_S_PER_MM2 = 1000.0


class TableError(Exception):
    """Lines of the table that can't be used; the text names each with its line number."""


@dataclass(frozen=True, slots=True)
class Row:
    """One case of a table and where its images are; paths are absolute or relative to the current directory."""

    place: str
    case: Case
    study: Path | None
    dwi: Path | None
    adc: Path | None
    b_value_s_per_mm2: float


def read_table(table: Path) -> list[Row]:
    """The cases of a JSON Lines table. TableError, with the line's number, if one is wrong or stands there twice."""
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for line, text in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        row = _row(table, line, text)
        if row.case.case_id in seen:
            raise TableError(f"{table.name}:{line}: {row.case.case_id} stands on line {seen[row.case.case_id]} already")
        seen[row.case.case_id] = line
        rows.append(row)
    if not rows:
        raise TableError(f"{table.name}: no case in it")
    return rows


def encode(rows: Sequence[Row], encoder: Encoder, rules: SelectionRules) -> tuple[list[Case], NDArray[np.float32]]:
    """The cases and their vectors, float32 (N, D) of unit length, row n belonging to case n.

    Raises TableError that names every case that can't be used: a case base with silent gaps would be a worse one.
    """
    vectors, problems = [], []
    for number, row in enumerate(rows, start=1):
        try:
            vectors.append(encoder.encode(_prepared(row, rules).network_input.array))
        except StudyNotUsable as error:
            problems.append(f"{row.place}: {row.case.case_id}: {error.reason} [{error.code}]")
        typer.echo(f"\r{number} of {len(rows)} encoded", nl=number == len(rows), err=True)
    if problems:
        raise TableError("\n".join(problems))
    return [row.case for row in rows], np.stack(vectors)


def _row(table: Path, line: int, text: str) -> Row:
    place = f"{table.name}:{line}"
    try:
        case = Case.from_json(text)
        raw = json.loads(text)
        study, dwi, adc = (table.parent / raw[key] if key in raw else None for key in ("study", "dwi", "adc"))
        b_value = float(raw.get("b_value", _DEFAULT_B_S_PER_MM2))
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(f"{place}: not a case ({type(error).__name__}: {error})") from error
    if (study is not None) == (dwi is not None and adc is not None):
        raise TableError(f'{place}: needs either "study", or "dwi" and "adc"')
    return Row(place, case, study, dwi, adc, b_value)


def _prepared(row: Row, rules: SelectionRules) -> Prepared:
    if row.study is not None:
        return prepare(study_files(row.study), rules)
    if row.dwi is None or row.adc is None:
        raise TableError(f"{row.place}: no images")
    return prepare_nifti(row.dwi, row.adc, row.b_value_s_per_mm2)
