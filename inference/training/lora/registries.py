"""Patients for simulated cases: what a hospital's registry says beside the images, with its gaps.

Patient and images are drawn apart, so that nothing about the finding can be guessed from the registry: a model that
learned to would state what no retrieved case shows.

Without a table: age and NIHSS as in SOOP's participants (OpenNeuro ds004889, 894 with both), sexes alike. Presentation
and history are in no public table known to us; they are drawn from the lists below, in the style of PIRTA table 3.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pirtad.inference.report.report import ADULT_YEARS, Registry

# SOOP: mean and standard deviation of the age, clamped there at 89; deciles 0 to 10 of the NIHSS.
_AGE_MEAN_YEARS, _AGE_SD_YEARS, _OLDEST_YEARS = 65.0, 14.4, 100
_NIHSS_DECILES = (0, 0, 1, 2, 3, 5, 7, 11, 15, 21, 35)
_NIHSS_MAX = 42
# Chosen: how often a field that could be known is missing.
_GAP_SHARE = 0.1
_MOST_DIAGNOSES = 4

PRESENTATIONS = (
    *("Altered Mentality", "Dysarthria", "Dizziness", "Vertigo", "Aphasia", "Headache", "Gait disturbance", "Syncope"),
    *("Left side weakness", "Right side weakness", "Left facial palsy", "Right facial palsy", "Diplopia", "Ataxia"),
    *("Left hemianopia", "Right hemianopia", "Numbness of the left hand", "Numbness of the right hand", "Seizure"),
    *("Sudden dysarthria and right hand clumsiness", "Memory disturbance", "Nausea and vomiting", "Dysphagia"),
)
DIAGNOSES = (
    *("HTN", "DM", "Afib", "Dyslipidemia", "CAD", "Old stroke", "TIA", "CKD", "Heart failure", "Smoker"),
    *("Cancer", "Migraine", "Epilepsy", "Prior MI", "Carotid stenosis", "Valve replacement"),
)
_SEXES = {"F": "Female", "M": "Male"}


@dataclass(frozen=True, slots=True)
class Participant:
    """A row of a table; None: not known. age_years: whole years. sex: "Female" or "Male"."""

    age_years: int | None
    sex: str | None
    nihss: float | None


def read_participants(path: Path) -> tuple[Participant, ...]:
    """The adults of a TSV with the columns age, sex (F, M) and nihss, and those of unknown age.

    Anything else than a number, or F or M, is a gap; "89+" counts as 89. Raises ValueError when a column is missing or
    no row is left, OSError when the file can't be read.
    """
    with path.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines, delimiter="\t")
        if missing := {"age", "sex", "nihss"} - set(table.fieldnames or ()):
            raise ValueError(f"{path.name} has no column {', '.join(sorted(missing))}")
        rows = tuple(
            Participant(_whole(row["age"]), _SEXES.get((row["sex"] or "").strip()), _score(row["nihss"]))
            for row in table
        )
    adults = tuple(one for one in rows if one.age_years is None or one.age_years >= ADULT_YEARS)
    if not adults:
        raise ValueError(f"{path.name} has no participant of {ADULT_YEARS} years or more")
    return adults


def draw_registry(seed: tuple[int, int], participants: Sequence[Participant] | None) -> Registry:
    """A patient: age, sex and NIHSS of one participant together (None: as the module says), the rest from the lists.
    The same seed gives the same patient."""
    rng = np.random.default_rng(seed)
    who = _made_up(rng) if participants is None else participants[int(rng.integers(len(participants)))]
    diagnoses = [DIAGNOSES[int(n)] for n in rng.permutation(len(DIAGNOSES))[: rng.integers(_MOST_DIAGNOSES + 1)]]
    presentation = PRESENTATIONS[int(rng.integers(len(PRESENTATIONS)))]
    gaps = rng.random(5) < _GAP_SHARE
    return Registry(
        age_years=None if gaps[0] else who.age_years,
        sex=None if gaps[1] else who.sex,
        presentation=None if gaps[2] else presentation,
        nihss=None if gaps[3] else who.nihss,
        history=None if gaps[4] or not diagnoses else ", ".join(diagnoses),
    )


def _made_up(rng: np.random.Generator) -> Participant:
    age = round(float(np.clip(rng.normal(_AGE_MEAN_YEARS, _AGE_SD_YEARS), ADULT_YEARS, _OLDEST_YEARS)))
    nihss = round(float(np.interp(rng.random() * 10, range(11), _NIHSS_DECILES)))
    return Participant(age, "Female" if rng.random() < 0.5 else "Male", float(nihss))


def _whole(text: str | None) -> int | None:
    digits = (text or "").strip().removesuffix("+")
    return int(digits) if digits.isascii() and digits.isdigit() else None


def _score(text: str | None) -> float | None:
    value = _whole(text)
    return float(value) if value is not None and value <= _NIHSS_MAX else None
