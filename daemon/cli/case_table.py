"""A table of cases, encoded. Imported, with torch, only when `pirtad cases build` or `add` runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray

from pirtad.daemon.cli.nifti import prepare_nifti
from pirtad.inference.dicom.candidates import BValueLimits
from pirtad.inference.prepare import prepare
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.prepared import Prepared
from pirtad.inference.retrieval.case import Case

_DEFAULT_B_S_PER_MM2 = 1000.0


class TableError(Exception):
    """Lines of the table that can't be used; the text names each with its line number."""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    case: Case
    study: Path | None
    dwi: Path | None
    adc: Path | None
    b_value_s_per_mm2: float


def encode_table(table: Path, encoder: Encoder, limits: BValueLimits) -> tuple[list[Case], NDArray[np.float32]]:
    """The cases of a JSON Lines table and their vectors, float32 (N, D) of unit length, row n belonging to case n.

    Raises TableError if a line is wrong or a case can't be used: a case base with silent gaps would be a worse one.
    """
    rows = list(_rows(table))
    vectors, problems = [], []
    for number, row in enumerate(rows, start=1):
        try:
            vectors.append(encoder.encode(_prepared(row, limits).network_input.array))
        except StudyNotUsable as error:
            problems.append(f"{table.name}:{row.line}: {row.case.case_id}: {error.reason} [{error.code}]")
        typer.echo(f"\r{number} of {len(rows)} encoded", nl=number == len(rows), err=True)
    if problems:
        raise TableError("\n".join(problems))
    return [row.case for row in rows], np.stack(vectors)


def _rows(table: Path) -> Iterator[_Row]:
    here = table.parent
    seen: dict[str, int] = {}
    for line, text in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            case = Case.from_json(text)
            raw = json.loads(text)
            paths = {key: here / raw[key] if key in raw else None for key in ("study", "dwi", "adc")}
            b_value = float(raw.get("b_value", _DEFAULT_B_S_PER_MM2))
        except (ValueError, KeyError, TypeError) as error:
            raise TableError(f"{table.name}:{line}: not a case ({type(error).__name__}: {error})") from error
        has_study, has_pair = paths["study"] is not None, paths["dwi"] is not None and paths["adc"] is not None
        if has_study == has_pair:
            raise TableError(f'{table.name}:{line}: needs either "study", or "dwi" and "adc"')
        if case.case_id in seen:
            raise TableError(f"{table.name}:{line}: {case.case_id} stands on line {seen[case.case_id]} already")
        seen[case.case_id] = line
        yield _Row(line, case, paths["study"], paths["dwi"], paths["adc"], b_value)
    if not seen:
        raise TableError(f"{table.name}: no case in it")


def _prepared(row: _Row, limits: BValueLimits) -> Prepared:
    if row.study is not None:
        return prepare(sorted(path for path in row.study.rglob("*") if path.is_file()), limits)
    if row.dwi is None or row.adc is None:
        raise TableError(f"line {row.line}: no images")
    return prepare_nifti(row.dwi, row.adc, row.b_value_s_per_mm2)
