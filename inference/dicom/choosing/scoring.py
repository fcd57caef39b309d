"""How well a DWI and an ADC map serve together: a sum of named terms, so that a choice can be explained.

The weights are chosen (docs/adr/0002-choosing-dwi-and-adc.md): the b value and what the scanner itself made count most,
the plane and a common grid next, sharpness and coverage decide between otherwise equal ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pirtad.inference.dicom.choosing.candidates import Candidate, is_declared_trace
from pirtad.inference.dicom.choosing.overlap import same_grid
from pirtad.inference.dicom.choosing.rules import BValueLimits, SelectionRules
from pirtad.inference.dicom.geometry import SliceStack
from pirtad.inference.dicom.kinds import SAME_B_VALUE_S_PER_MM2

B_VALUE = 30.0
SENT = 15.0
AXIAL = 20.0
SAME_GRID = 10.0
SAME_ACQUISITION = 5.0
OTHER_ACQUISITION = -25.0
"""For an ADC map that carries the acquisition time of another trace image: the patient may have moved in between."""
DECLARED = 5.0
COVERAGE = 4.0
RESOLUTION = 2.0

FULL_COVERAGE_MM = 140.0
"""From the foramen magnum to the vertex, with room to spare."""
FINE_VOXEL_MM3 = 4.0
"""1 x 1 x 4 mm; smaller voxels earn no more, for the network's grid has 2 x 2 x 4 mm."""

LEVEL = 0.5
"""Pairs whose scores differ by less fit equally well."""


@dataclass(frozen=True, slots=True)
class Score:
    """Named terms and their sum."""

    terms: tuple[tuple[str, float], ...]

    @property
    def total(self) -> float:
        """The sum of the terms."""
        return sum(value for _, value in self.terms)


def score(dwi: Candidate, adc: Candidate, others: Sequence[Candidate], rules: SelectionRules) -> Score:
    """The score of a pair, 106 at best where no site rule adds to it. others: all that could serve as the DWI."""
    return Score(
        (
            ("b_value", _b_value(dwi.b_value_s_per_mm2, rules.b_values)),
            ("trace_declared", DECLARED if all(map(is_declared_trace, dwi.frames)) else 0.0),
            ("trace_sent", 0.0 if dwi.computed else SENT),
            ("adc_sent", 0.0 if adc.computed else SENT),
            ("axial", AXIAL if dwi.stack.axial else 0.0),
            ("same_grid", SAME_GRID if same_grid(dwi.stack, adc.stack) else 0.0),
            ("same_acquisition", _acquisition(dwi, adc, others)),
            ("coverage", COVERAGE * min(1.0, dwi.stack.coverage_mm / FULL_COVERAGE_MM)),
            ("resolution", RESOLUTION * min(1.0, FINE_VOXEL_MM3 / _voxel_mm3(dwi.stack))),
            ("site_rules", site_score(dwi, rules) + site_score(adc, rules)),
        )
    )


def _acquisition(dwi: Candidate, adc: Candidate, others: Sequence[Candidate]) -> float:
    if same_acquisition(dwi, adc):
        return SAME_ACQUISITION
    # The times of a trace and its map differ in some archives; that alone says nothing.
    of_another = any(
        same_acquisition(other, adc) for other in others if not other.computed and other.series is not dwi.series
    )
    return OTHER_ACQUISITION if of_another and not dwi.computed else 0.0


def same_acquisition(one: Candidate, other: Candidate) -> bool:
    """Whether both carry a common acquisition time: how repeats on one grid are told apart."""
    return bool(times(one) & times(other))


def times(candidate: Candidate) -> set[str]:
    """When its frames were acquired, as far as they say."""
    return {frame.moment for frame in candidate.frames if frame.moment}


def _b_value(b: float | None, limits: BValueLimits) -> float:
    assert b is not None  # every DWI candidate has one
    distance = abs(b - limits.near)
    if distance <= SAME_B_VALUE_S_PER_MM2:
        return B_VALUE
    furthest = max(limits.maximum - limits.near, limits.near - limits.minimum)
    # Of two b values equally far from the wanted one the lower has more signal; a point tells them apart.
    worth = B_VALUE * (1.0 - distance / furthest) - (1.0 if b > limits.near else 0.0) if furthest > 0 else 0.0
    return max(0.0, worth)


def _voxel_mm3(stack: SliceStack) -> float:
    x, y, z = stack.spacing_mm
    return x * y * z


def site_score(candidate: Candidate, rules: SelectionRules) -> float:
    """What the site's rules add for a series."""
    rule = rules.rule_for(candidate.series.description, candidate.series.instances[0].manufacturer)
    return rule.score if rule else 0.0
