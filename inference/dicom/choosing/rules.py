"""What a site may decide about the choice of series; the defaults are ADR 2's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from pirtad.inference.dicom.kinds import Kind


@dataclass(frozen=True, slots=True)
class BValueLimits:
    """Which b values, in s/mm2, may stand in for the b 1000 trace of PIRTA (section 2.1), and which is preferred.

    remark_beyond: further away from `near` than this, the report says so.
    """

    minimum: float = 800.0
    maximum: float = 1500.0
    near: float = 1000.0
    remark_beyond: float = 100.0


class Repeats(StrEnum):
    """What to do when an acquisition was made several times and all of them fit equally well."""

    REFUSE = "refuse"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class SeriesRule:
    """A site's word on certain series; it wins over what the header says.

    A series is meant when every pattern given (regular expressions, searched for anywhere, case ignored) is found.
    kind: what its images are; `ignore` keeps them out altogether. b_value_s_per_mm2: theirs, for kinds that have one.
    adc_unit_mm2_per_s: unit of its stored and rescaled values. score: added to the series' score.
    """

    description: str = ""
    manufacturer: str = ""
    kind: Kind | None = None
    ignore: bool = False
    b_value_s_per_mm2: float | None = None
    adc_unit_mm2_per_s: float | None = None
    score: float = 0.0

    def means(self, description: str, manufacturer: str) -> bool:
        """Whether the rule is about a series with this name from this manufacturer."""
        return all(
            re.search(pattern, text, re.IGNORECASE)
            for pattern, text in ((self.description, description), (self.manufacturer, manufacturer))
        )


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """How DWI and ADC are chosen.

    compute_trace, compute_adc: whether a missing trace is computed from single directions, a missing ADC map from
        images of several b values.
    series: a site's rules, the first that means a series holds.
    """

    b_values: BValueLimits = BValueLimits()
    compute_trace: bool = True
    compute_adc: bool = True
    repeats: Repeats = Repeats.REFUSE
    series: tuple[SeriesRule, ...] = field(default=())

    def rule_for(self, description: str, manufacturer: str) -> SeriesRule | None:
        """The first rule about such a series."""
        return next((rule for rule in self.series if rule.means(description, manufacturer)), None)


DEFAULT_RULES = SelectionRules()
