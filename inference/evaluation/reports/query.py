"""A query as the product would have prepared it, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pirtad.inference.evaluation.reports.registries import drawn_registry
from pirtad.inference.findings import Territory
from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.grid import grid_affine
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.report.report import Registry
from pirtad.inference.report.wording import impressions, reading
from pirtad.inference.training.cases import SimulatedCase
from pirtad.inference.volume import DiffusionPair, Volume

# Of a stored case (SI); it stands in the prepared study alone and enters no figure.
_B_VALUE_S_PER_MM2 = 1000.0


@dataclass(frozen=True, slots=True)
class Query:
    """case: the images and the truth about them; registry: drawn, see registries.py."""

    case: SimulatedCase
    registry: Registry

    @property
    def truth(self) -> Territory:
        """The class."""
        return self.case.finding.territory


def query_of(case: SimulatedCase) -> Query:
    """The query that a stored case makes."""
    return Query(case, drawn_registry(case.seed))


def prepared(query: Query) -> Prepared:
    """What the prepare stage would hand on.

    A stored case holds the network's input (2 x 2 x 4 mm, brain alone, bias field corrected) and not the scanner's
    images, so the lesion is measured on that grid, laid about the origin as its own place is not stored. That leaves
    out what the scanner's own grid changes: finer slices in the plane, spots below 16 mm3, coil shading, the skull.
    """
    array = query.case.array.astype(np.float32)
    affine = grid_affine(np.zeros(3))
    brain = np.asarray((array != 0).any(axis=0))
    pair = DiffusionPair(Volume(array[0], affine), Volume(array[1] * np.float32(1e-3), affine), _B_VALUE_S_PER_MM2)
    return Prepared(NetworkInput(array, brain, affine), query.registry, _B_VALUE_S_PER_MM2, pair=pair)


def references(query: Query) -> tuple[str, ...]:
    """The template report of the truth, findings and impression, in the two wordings that the systems know: the
    product's, and table 1's with the impression of table 3."""
    finding = query.case.finding
    infarct = finding.territory is not Territory.NORMAL
    return (
        f"{reading(finding)} {impressions(finding.territory, acute=infarct)[0]}",
        f"{finding.sentence()} {'Acute' if infarct else 'No acute'} infarction.",
    )
