"""What PIRTA's text gives to compare with, in percent: section 3.1.1 (of table 4 the text has mAP@1 alone) and table 6,
large pretraining."""

from __future__ import annotations

from dataclasses import dataclass

from pirtad.inference.findings import Territory

OTHER_DATA = (
    "The paper's figures are on other data, patients of its own hospitals; these are on simulated studies. "
    "They stand side by side for orientation and compare nothing."
)


@dataclass(frozen=True, slots=True)
class PaperFigure:
    """internal: SNUH and SNUBH; brmh: the external hospital. In percent."""

    internal: float
    brmh: float


MAP_AT_1 = PaperFigure(94.04, 71.21)
MULTICLASS_ACC_AT_1 = PaperFigure(93.06, 69.23)
CLASS_WISE_ACC_AT_1 = {
    Territory.NORMAL: PaperFigure(100.0, 72.24),
    Territory.ANTERIOR: PaperFigure(95.37, 90.64),
    Territory.DEEP_GRAY_MATTER: PaperFigure(93.98, 90.80),
    Territory.POSTERIOR: PaperFigure(96.76, 87.79),
}
