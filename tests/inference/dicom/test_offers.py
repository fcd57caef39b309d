"""What one series can serve as, from its frames alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.frames import CORONAL, X, Y, Z, directions, series_of, stack

from pirtad.inference.dicom.choosing.adc_offers import adc_offers
from pirtad.inference.dicom.choosing.dwi_offers import dwi_offers
from pirtad.inference.dicom.choosing.recipes import AdcFit, AsSent, GeometricMean, why_no_trace
from pirtad.inference.dicom.choosing.rules import DEFAULT_RULES, SelectionRules
from pirtad.inference.dicom.frames import Problem, Scaling
from pirtad.inference.dicom.kinds import Kind


def dwi_codes(*groups) -> list[str]:
    offers = dwi_offers(series_of(*groups), DEFAULT_RULES)
    assert not offers.candidates
    return [one.code for one in offers.rejections]


def test_a_trace_is_offered_as_sent() -> None:
    offers = dwi_offers(series_of(stack()), DEFAULT_RULES)
    (candidate,) = offers.candidates
    assert isinstance(candidate.recipe, AsSent)
    assert (candidate.b_value_s_per_mm2, candidate.computed, candidate.how) == (1000, False, "as sent")
    assert not offers.rejections


def test_directions_are_offered_as_their_geometric_mean() -> None:
    (candidate,) = dwi_offers(series_of(directions()), DEFAULT_RULES).candidates
    assert isinstance(candidate.recipe, GeometricMean)
    assert candidate.computed
    assert candidate.how == "geometric mean of 3 directions"
    assert len(candidate.frames) == 36


def test_a_trace_among_directions_is_offered_beside_their_mean() -> None:
    found = dwi_offers(series_of(directions(), stack()), DEFAULT_RULES).candidates
    assert [one.computed for one in found] == [False, True]


def test_every_b_value_within_the_limits_is_offered() -> None:
    series = series_of(*(stack(b=b) for b in (500.0, 800.0, 1000.0, 1500.0, 2000.0)))
    assert [one.b_value_s_per_mm2 for one in dwi_offers(series, DEFAULT_RULES).candidates] == [800, 1000, 1500]


def test_b_values_that_scanners_round_are_one() -> None:
    series = series_of(directions(b=995.0, axes=(X,)), directions(b=1000.0, axes=(Y, Z)))
    (candidate,) = dwi_offers(series, DEFAULT_RULES).candidates
    assert candidate.b_value_s_per_mm2 == 1000
    assert len(candidate.frames) == 36


@pytest.mark.parametrize(
    ("groups", "code"),
    [
        ([stack(b=None)], "b_value_unknown"),
        ([stack(b=2500.0)], "b_value_out_of_range"),
        ([directions(axes=(X, Y))], "not_trace"),
        ([directions(axes=(X, X, X))], "not_trace"),
        ([directions(axes=(X, Y, (0.7071, 0.7071, 0.0)))], "not_trace"),
        ([stack(Kind.DIRECTION, direction=None, name=str(n)) for n in range(3)], "not_trace"),
        ([stack(Kind.DWI, name=str(n)) for n in range(3)], "not_trace"),
        ([stack(name="1"), stack(name="2")], "duplicate_slices"),
        ([stack(slices=9)], "too_few_slices"),
        ([stack(gap_mm=2.0)], "too_few_slices"),
        ([stack()[:5], stack()[6:]], "broken_geometry"),
        ([stack(), stack(cosines=CORONAL)[:2]], "broken_geometry"),
        ([stack(problem=Problem("burned_in", "burned"))], "burned_in"),
        (
            [[replace(one, scaling=Scaling(problem=Problem("broken_rescale", "slope 0"))) for one in stack()]],
            "broken_rescale",
        ),
    ],
)
def test_what_is_no_dwi_says_why(groups, code) -> None:
    assert dwi_codes(*groups) == [code]


@pytest.mark.parametrize(
    "stray", [stack(Kind.OTHER, None)[:1], stack(Kind.UNCLEAR, None)[:1], stack(Kind.DIRECTION, None, direction=X)[:1]]
)
def test_nothing_is_computed_from_a_series_with_an_image_that_does_not_say_what_it_is(stray) -> None:
    series = series_of(stack(Kind.B0, 0.0), directions(), stray)
    assert not dwi_offers(series, DEFAULT_RULES).candidates
    assert not adc_offers(series, DEFAULT_RULES).candidates


def test_one_direction_missing_in_one_slice_makes_no_trace() -> None:
    assert dwi_codes(directions()[:-1]) == ["broken_geometry"]


def test_repetitions_are_candidates_of_their_own() -> None:
    series = series_of(stack(moment="1000"), stack(moment="1001"))
    assert len(dwi_offers(series, DEFAULT_RULES).candidates) == 2


def test_axial_and_coronal_stacks_of_one_series_are_both_offered() -> None:
    series = series_of(stack(), stack(cosines=CORONAL))
    assert [one.stack.axial for one in dwi_offers(series, DEFAULT_RULES).candidates] == [True, False]


def test_a_map_is_offered_as_sent() -> None:
    (candidate,) = adc_offers(series_of(stack(Kind.ADC, None)), DEFAULT_RULES).candidates
    assert isinstance(candidate.recipe, AsSent)
    assert candidate.b_value_s_per_mm2 is None


def test_a_map_is_fitted_to_b0_and_the_trace_of_one_series() -> None:
    series = series_of(stack(Kind.B0, 0.0), stack(Kind.B0, 0.004), stack(b=500.0), stack(b=1000.0))
    (candidate,) = adc_offers(series, DEFAULT_RULES).candidates
    assert isinstance(candidate.recipe, AdcFit)
    assert candidate.recipe.b_values_s_per_mm2 == (0, 500, 1000)
    assert candidate.how == "log-linear least squares fit to b 0, 500 and 1000 s/mm2"


def test_a_map_is_fitted_to_directions() -> None:
    (candidate,) = adc_offers(series_of(stack(Kind.B0, 0.0), directions()), DEFAULT_RULES).candidates
    assert candidate.how == "log-linear fit to b 0 and 1000 s/mm2"
    assert len(candidate.frames) == 48


def test_a_high_b_value_has_no_part_in_the_fit() -> None:
    series = series_of(stack(Kind.B0, 0.0), stack(b=1000.0), stack(b=2500.0))
    (candidate,) = adc_offers(series, DEFAULT_RULES).candidates
    assert candidate.recipe.b_values_s_per_mm2 == (0, 1000)


@pytest.mark.parametrize(
    "groups",
    [
        [stack(b=1000.0)],
        [stack(Kind.B0, 0.0)],
        [stack(Kind.B0, 0.0), stack(b=400.0)],
        [stack(b=200.0), stack(b=1000.0)],
        [stack(Kind.B0, 0.0), stack(Kind.DWI, b=1000.0, name="1"), stack(Kind.DWI, b=1000.0, name="2")],
        [stack(Kind.B0, 0.0, slices=11), stack(b=1000.0)],
        [stack(Kind.B0, 0.0, origin_mm=3.0), stack(b=1000.0)],
        [stack(Kind.B0, 0.0), directions(axes=(X, Y))],
    ],
)
def test_no_map_is_fitted_to_what_does_not_allow_it(groups) -> None:
    assert not adc_offers(series_of(*groups), DEFAULT_RULES).candidates


def test_computing_can_be_switched_off() -> None:
    rules = SelectionRules(compute_trace=False, compute_adc=False)
    series = series_of(stack(Kind.B0, 0.0), directions())
    assert not adc_offers(series, rules).candidates
    offers = dwi_offers(series, rules)
    assert not offers.candidates
    assert [one.code for one in offers.rejections] == ["not_trace"]


def test_why_directions_make_no_trace() -> None:
    assert why_no_trace([X, Y, Z]) is None
    assert why_no_trace([X, Y, Z, (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)]) is None
    assert "1 times, others 2 times" in (why_no_trace([X, (-1.0, 0.0, 0.0), Y, Z]) or "")
    assert "at least 3" in (why_no_trace([X, Y]) or "")
    assert "do not cover" in (why_no_trace([X, Y, X, Y]) or "")
    assert "not stated" in (why_no_trace([X, Y, Z, None]) or "")
