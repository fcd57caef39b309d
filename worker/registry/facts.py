"""Facts about a patient that the hospital gives for a study, through the API or the command line. Light: no DICOM.

Nothing is mended here: a fact that can't be right is refused, by its name, and its value is not quoted.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

MAX_AGE_YEARS = 130  # as for the images' header
MAX_NIHSS = 42  # NIH Stroke Scale: the items' highest scores together
SEXES = ("Female", "Male", "Other")
# What a report shows of them: a longer text would be cut there, perhaps before its "no".
MAX_PRESENTATION = 256
MAX_HISTORY = 512
MAX_PATIENT_ID = 64  # PS3.5 table 6.2-1, VR LO
MAX_GIVER = 64  # chosen
MAX_BODY_BYTES = 16384  # chosen: every text at its longest, escaped, fits

NAMES = {"age_years": "age", "sex": "sex", "presentation": "presentation", "nihss": "NIHSS", "history": "history"}
"""The registry's fields in words, in the report's order."""


class FactsRefused(ValueError):
    """The facts can't be taken; the text names the field and what is wrong, and quotes no value."""


@dataclass(frozen=True, slots=True, repr=False)
class GivenFacts:
    """Facts as given; None was not given. Patient data: its repr shows names alone.

    patient_id: whose facts these are, held against the images' PatientID before they are used; None leaves that to
        the study UID.
    """

    age_years: int | None = None
    sex: str | None = None
    presentation: str | None = None
    nihss: int | None = None
    history: str | None = None
    patient_id: str | None = None

    def __repr__(self) -> str:
        return f"GivenFacts({', '.join(self.names())})"

    def names(self) -> tuple[str, ...]:
        """Which facts there are, in words."""
        return tuple(words for name, words in NAMES.items() if getattr(self, name) is not None)

    def to_dict(self) -> dict[str, Any]:
        """What was given, by field; `given_facts` takes it back."""
        return {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) is not None}


def given_facts(raw: Mapping[str, object]) -> GivenFacts:
    """Check the fields of a request (or what the ledger kept of one). Raises FactsRefused.

    An absent field and None are the same. A field of another name is refused: it would be lost in silence.
    """
    allowed = [one.name for one in fields(GivenFacts)]
    if unknown := set(raw) - set(allowed):
        count = f"{len(unknown)} unknown field" + ("s" if len(unknown) > 1 else "")
        raise FactsRefused(f"{count}; there are {', '.join(allowed)}")
    sex = raw.get("sex")
    if sex is not None and sex not in SEXES:
        raise FactsRefused(f"sex: one of {', '.join(SEXES)} is wanted")
    facts = GivenFacts(
        age_years=_whole("age_years", raw.get("age_years"), MAX_AGE_YEARS),
        sex=None if sex is None else str(sex),
        presentation=_text("presentation", raw.get("presentation"), MAX_PRESENTATION),
        nihss=_whole("nihss", raw.get("nihss"), MAX_NIHSS),
        history=_text("history", raw.get("history"), MAX_HISTORY),
        patient_id=_text("patient_id", raw.get("patient_id"), MAX_PATIENT_ID),
    )
    if facts.patient_id is not None and not facts.names():
        raise FactsRefused("patient_id alone is no fact")
    return facts


def giver(name: object, otherwise: str) -> str:
    """Who gives facts: the name that was told, else where they came from. Raises FactsRefused."""
    told = _text("given_by", name, MAX_GIVER)
    return otherwise[:MAX_GIVER] if told is None else told


def _whole(name: str, value: object, most: int) -> int | None:
    """A whole number from 0; 7.0 is one, as JSON writers may put it."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise FactsRefused(f"{name}: a whole number is wanted")
    if not 0 <= value <= most:
        raise FactsRefused(f"{name}: between 0 and {most} is wanted")
    return int(value)


def _text(name: str, value: object, longest: int) -> str | None:
    """One line; line ends and tabs become blanks, other control and formatting characters are refused."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise FactsRefused(f"{name}: a text is wanted")
    line = " ".join(value.split())
    # Categories Cc, Cf, Cs and Co: bidirectional overrides and zero-width characters show another text than is there.
    if any(unicodedata.category(one)[0] == "C" for one in line):
        raise FactsRefused(f"{name}: holds control or formatting characters")
    if not any(one.isalnum() for one in line):
        raise FactsRefused(f"{name}: says nothing; leave it out")
    if len(line) > longest:
        raise FactsRefused(f"{name}: {len(line)} characters, at most {longest} are taken")
    return line
