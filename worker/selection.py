"""Settings that the offline pipeline takes in its own terms."""

from __future__ import annotations

from pirtad.inference.dicom.choosing.rules import BValueLimits, Repeats, SelectionRules, SeriesRule
from pirtad.inference.dicom.kinds import Kind
from pirtad.worker.series_settings import SeriesRuleSettings
from pirtad.worker.settings import Settings


def selection_rules(settings: Settings) -> SelectionRules:
    """How DWI and ADC are chosen."""
    return SelectionRules(
        b_values=BValueLimits(settings.inference.b_value_min_s_per_mm2, settings.inference.b_value_max_s_per_mm2),
        compute_trace=settings.series.compute_trace,
        compute_adc=settings.series.compute_adc,
        repeats=Repeats(settings.series.repeats),
        series=tuple(_rule(rule) for rule in settings.series.rules),
    )


def _rule(rule: SeriesRuleSettings) -> SeriesRule:
    return SeriesRule(
        description=rule.description,
        manufacturer=rule.manufacturer,
        kind=None if rule.kind is None else Kind(rule.kind),
        ignore=rule.ignore,
        b_value_s_per_mm2=rule.b_value_s_per_mm2,
        adc_unit_mm2_per_s=rule.adc_unit_mm2_per_s,
        score=rule.score,
    )
