"""Everything the offline pipeline finds in one study beside the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.agreement import Agreement
from pirtad.inference.lesion.coverage import Coverage
from pirtad.inference.lesion.measurement import LesionMeasurement
from pirtad.inference.ood.calibration import Assessment
from pirtad.inference.report.report import SimilarCase


@dataclass(frozen=True, slots=True)
class Analysis:
    """probabilities: of the head, adding up to 1. similar: the retrieved cases, best first. out_of_distribution: None
    when the case base has no calibration. lesion and lesion_mask (bool, the DWI's grid): None when the weights have no
    decoder for a lesion map. coverage: None where there were no volumes to measure it on."""

    probabilities: dict[Territory, float]
    similar: tuple[SimilarCase, ...]
    out_of_distribution: Assessment | None
    lesion: LesionMeasurement | None
    lesion_mask: NDArray[np.bool_] | None = field(repr=False)
    agreement: Agreement
    coverage: Coverage | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without similar cases and mask."""
        return {
            "probabilities": {str(territory): round(share, 4) for territory, share in self.probabilities.items()},
            "out_of_distribution": None if self.out_of_distribution is None else self.out_of_distribution.to_dict(),
            "lesion": None if self.lesion is None else self.lesion.to_dict(),
            "agreement": self.agreement.to_dict(),
            "coverage": None if self.coverage is None else asdict(self.coverage),
        }

    def text(self) -> str:
        """A short block for a reader; states that nobody has verified it."""
        lines = ["Measured on these images (automatic, not verified):"]
        lines += ["No lesion map: these weights have none."] if self.lesion is None else self.lesion.lines()
        if self.out_of_distribution is not None and self.out_of_distribution.is_out:
            lines.append("Unlike the studies this was made for: " + "; ".join(self.out_of_distribution.reasons))
        return "\n".join([*lines, *self.agreement.contradictions]) + "\n"
