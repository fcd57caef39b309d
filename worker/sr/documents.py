"""The objects that carry one result, in the order in which they are composed, numbered and sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pirtad.inference.report.report import Report
from pirtad.inference.volume import DiffusionPair
from pirtad.worker.sr.identity import MEASUREMENTS, NARRATIVE, SrIdentity
from pirtad.worker.sr.measurements import compose_measurements
from pirtad.worker.sr.narrative import compose_narrative
from pirtad.worker.sr.picture import PICTURE, compose_picture
from pirtad.worker.sr.source import SourceStudy


@dataclass(frozen=True, slots=True)
class Result:
    """What there is to compose from.

    pair: the volumes that were measured; None where an earlier version prepared the study, and then no picture is made.
    lesion_mask: bool, on the grid of `pair.dwi`; None where no lesion map was made.
    """

    report: Report = field(repr=False)
    source: SourceStudy
    pair: DiffusionPair | None = field(default=None, repr=False)
    lesion_mask: NDArray[np.bool_] | None = field(default=None, repr=False)


Compose = Callable[[Result, SrIdentity], Dataset]


def _picture(result: Result, identity: SrIdentity) -> Dataset:
    if result.pair is None:
        raise ValueError("no volumes to show")
    return compose_picture(
        result.report, result.source, identity=identity, pair=result.pair, lesion_mask=result.lesion_mask
    )


# By role; the position is the instance number, from 1. A new object is a line here and its SOP class in `check`.
DOCUMENTS: dict[str, Compose] = {
    NARRATIVE: lambda result, identity: compose_narrative(result.report, result.source, identity=identity),
    MEASUREMENTS: lambda result, identity: compose_measurements(result.report, result.source, identity=identity),
    PICTURE: _picture,
}


def documents(*, measurements: bool = True, picture: bool = True) -> dict[str, Compose]:
    """Those that the PACS takes; the narrative goes to everyone."""
    unwanted = {role for role, wanted in ((MEASUREMENTS, measurements), (PICTURE, picture)) if not wanted}
    return {role: compose for role, compose in DOCUMENTS.items() if role not in unwanted}
