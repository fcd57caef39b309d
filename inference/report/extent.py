"""Whether an infarct type of the similar cases can be one of the lesion that was measured on this patient."""

from __future__ import annotations

from dataclasses import replace

from pirtad.inference.findings import Finding, InfarctType
from pirtad.inference.lesion.measurement import LesionMeasurement
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE, Evidence

# Chosen on the safe side of the simulator's rules (large infarcts are drawn from 20 ml, and masks are called so from
# 35 ml; below it they may be called small), since a measured volume is off by a fifth in the median.
SMALLEST_LARGE_ML = 15.0
LARGEST_SMALL_ML = 35.0


def fitting(evidence: Evidence, lesion: LesionMeasurement | None) -> Evidence:
    """The evidence without the sentences whose type the measured volume contradicts; none may be left. A lesion of
    which nothing could be measured is a small one."""
    if lesion is None:
        return evidence
    kept = tuple(text for text in evidence.sentences if _fits(FINDING_OF_SENTENCE[text], lesion.volume_ml))
    return replace(evidence, sentences=kept)


def _fits(finding: Finding, volume_ml: float) -> bool:
    if finding.infarct_type is None:
        return True
    if finding.infarct_type is InfarctType.LARGE_VASCULAR_TERRITORIAL:
        return volume_ml >= SMALLEST_LARGE_ML
    if finding.infarct_type is InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL:
        return volume_ml > 0
    return volume_ml <= LARGEST_SMALL_ML
