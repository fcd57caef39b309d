"""Settings that the offline pipeline takes in its own terms."""

from __future__ import annotations

from pirtad.inference.dicom.candidates import BValueLimits
from pirtad.worker.settings import InferenceSettings


def b_value_limits(settings: InferenceSettings) -> BValueLimits:
    """Which b values count as DWI."""
    return BValueLimits(settings.b_value_min_s_per_mm2, settings.b_value_max_s_per_mm2)
