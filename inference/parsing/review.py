"""The table in which a person decides what the rules could not: written, corrected in a spreadsheet, read back.

`accepted`: yes takes the proposal, no leaves the case out for good, empty leaves it waiting. A corrected value replaces
the proposed one and is a decision in itself. CSV with a byte order mark, as spreadsheets expect; a semicolon as
delimiter (what Excel writes in many countries) is read too.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.parsing.parsed import ParsedReport
from pirtad.inference.parsing.spreadsheet import MOST_CELL_CHARS, from_cell, to_cell

PROPOSED = ("territory", "signal_class", "infarct_type")
CORRECTED = tuple(f"corrected_{name}" for name in PROPOSED)
COLUMNS = ("case", "report", *PROPOSED, "confidence", "evidence", "reasons", "accepted", *CORRECTED)
_ANSWERS = {"yes": True, "y": True, "true": True, "1": True, "no": False, "n": False, "false": False, "0": False}
_MOST_FIELD_CHARS = 1_000_000


class ReviewError(Exception):
    """A review file that can't be used; the text names each row (the heading is row 1) and quotes no cell."""


class Decision(StrEnum):
    """What the person said."""

    WAITING = "waiting"
    TAKEN = "taken"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One row. case, report: as in the hospital's table. territory, signal_class, infarct_type: proposed; corrected_*:
    the person's. accepted: None while empty. Raises ValueError where the person's decision makes no whole finding."""

    case: str = field(repr=False)
    report: str = field(repr=False)
    territory: Territory | None = None
    signal_class: SignalClass | None = None
    infarct_type: InfarctType | None = None
    confidence: str = "review"
    evidence: str = field(default="", repr=False)
    reasons: str = ""
    accepted: bool | None = None
    corrected_territory: Territory | None = None
    corrected_signal_class: SignalClass | None = None
    corrected_infarct_type: InfarctType | None = None

    def __post_init__(self) -> None:
        if self.decision is Decision.TAKEN and self.finding is None:
            raise ValueError("taken without a territory")

    @property
    def decision(self) -> Decision:
        """A correction counts as a decision, whatever `accepted` says."""
        if self.corrected_territory or self.corrected_signal_class or self.corrected_infarct_type or self.accepted:
            return Decision.TAKEN
        return Decision.WAITING if self.accepted is None else Decision.LEFT_OUT

    @property
    def finding(self) -> Finding | None:
        """What the person decided, corrections applied; None unless taken. ValueError if it is no whole finding."""
        territory = self.corrected_territory or self.territory
        if self.decision is not Decision.TAKEN or territory is None:
            return None
        if territory is Territory.NORMAL:
            if self.corrected_signal_class or self.corrected_infarct_type:
                raise ValueError("normal, with a class or a type")
            return Finding(territory)
        return Finding(
            territory,
            self.corrected_signal_class or self.signal_class,
            self.corrected_infarct_type or self.infarct_type,
        )


def proposal(case: str, report: str, parsed: ParsedReport) -> ReviewRow:
    """The row that asks a person about a report."""
    first = parsed.dominant
    words = [] if first is None else first.evidence
    return ReviewRow(
        case,
        report,
        None if first is None else first.territory,
        None if first is None else first.signal_class,
        None if first is None else first.infarct_type,
        str(parsed.confidence),
        " | ".join(f"{one.rule}: {one.text}" for one in (words or parsed.evidence)),
        " | ".join(parsed.reasons),
    )


def write_review(path: Path, rows: Sequence[ReviewRow]) -> None:
    """The table, whole or not at all: the file is replaced once its bytes are on the disk.

    Raises ReviewError for a case that stands there twice or a report that a spreadsheet would cut short.
    """
    problems = []
    seen: set[str] = set()
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for number, row in enumerate(rows, start=2):
        cells = [to_cell(_text(getattr(row, name))) for name in COLUMNS]
        if not row.case.strip() or row.case.strip().casefold() in seen:
            problems.append(f"row {number}: no case, or one that stands there twice")
        if any(len(cell) > MOST_CELL_CHARS for cell in cells):
            problems.append(f"row {number}: longer than a spreadsheet's cell")
        seen.add(row.case.strip().casefold())
        writer.writerow(cells)
    if problems:
        raise ReviewError("\n".join(f"{path.name}: {problem}" for problem in problems))
    beside = path.with_name(f".{path.name}.writing")
    with beside.open("w", encoding="utf-8-sig", newline="") as file:
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def read_review(path: Path) -> list[ReviewRow]:
    """Every row, decided or not, in the file's order.

    Raises ReviewError that names every row with an unknown word, a decision that makes no whole finding, a missing or
    surplus cell, or a case that stands there twice.
    """
    csv.field_size_limit(_MOST_FIELD_CHARS)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        heading = text.split("\n", 1)[0]
        delimiter = ";" if heading.count(";") > heading.count(",") else ","
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ReviewError(f"{path.name}: not a CSV file in UTF-8 ({type(error).__name__})") from error
    names = [name.strip().lower() for name in records[0]] if records else []
    if missing := [name for name in COLUMNS if name not in names]:
        raise ReviewError(f"{path.name}: no column {', '.join(missing)}")
    # Writing the file again would lose a column of someone's own.
    if any(name and name not in COLUMNS for name in names) or len(set(names) & set(COLUMNS)) != sum(map(bool, names)):
        raise ReviewError(f"{path.name}: a column that is not known, or one twice")
    return _rows(path, names, records[1:])


def _rows(path: Path, names: Sequence[str], records: Iterable[Sequence[str]]) -> list[ReviewRow]:
    rows, problems, seen = [], [], set()
    for number, record in enumerate(records, start=2):
        if not any(record):
            continue
        if len(record) != len(names):
            problems.append(f"row {number}: {len(record)} cells under {len(names)} columns")
            continue
        try:
            row = _row(dict(zip(names, record, strict=True)))
        except ValueError as error:
            problems.append(f"row {number}: {error}")
            continue
        key = row.case.casefold()
        if not key or key in seen:
            problems.append(f"row {number}: no case, or one that stands there twice")
        seen.add(key)
        rows.append(row)
    if problems:
        raise ReviewError("\n".join(f"{path.name}: {problem}" for problem in problems))
    return rows


def _row(cells: dict[str, str]) -> ReviewRow:
    plain = {name: from_cell(cells[name]) for name in COLUMNS}
    try:
        return ReviewRow(
            plain["case"].strip(),
            plain["report"],
            _word(Territory, plain, "territory"),
            _word(SignalClass, plain, "signal_class"),
            _word(InfarctType, plain, "infarct_type"),
            plain["confidence"],
            plain["evidence"],
            plain["reasons"],
            _answer(plain["accepted"]),
            _word(Territory, plain, "corrected_territory"),
            _word(SignalClass, plain, "corrected_signal_class"),
            _word(InfarctType, plain, "corrected_infarct_type"),
        )
    except _UnknownWordError:
        raise
    except ValueError:
        raise ValueError(
            "accepted or corrected, but territory, signal_class and infarct_type do not go together"
        ) from None


class _UnknownWordError(ValueError):
    pass


_Word = TypeVar("_Word", Territory, SignalClass, InfarctType)


def _word(kind: type[_Word], cells: dict[str, str], name: str) -> _Word | None:
    said = cells[name].strip().lower()
    try:
        return kind(said) if said else None
    except ValueError:
        # Not the cell's own text: one that slipped from another column may be a name.
        raise _UnknownWordError(f"unknown word in {name}; known: {', '.join(kind)}") from None


def _answer(cell: str) -> bool | None:
    said = cell.strip().lower()
    if said and said not in _ANSWERS:
        raise _UnknownWordError("unknown word in accepted; known: yes, no")
    return _ANSWERS[said] if said else None


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
