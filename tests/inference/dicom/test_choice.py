"""Which pair is chosen among several, and what site rules change; from headers alone."""

from __future__ import annotations

import pytest
from support.frames import CORONAL, directions, series_of, stack

from pirtad.inference.dicom.choosing.rules import DEFAULT_RULES, BValueLimits, Repeats, SelectionRules, SeriesRule
from pirtad.inference.dicom.choosing.select import Choice, choose_pair, inspect_series
from pirtad.inference.dicom.kinds import Kind
from pirtad.inference.errors import StudyNotUsable


def trace(uid: str = "1.2.1", name: str = "sB1000", **extra):
    return series_of(stack(**extra), uid=uid, name=name)


def adc(uid: str = "1.2.2", name: str = "dADC", **extra):
    return series_of(stack(Kind.ADC, None, **extra), uid=uid, name=name)


def names(choice: Choice) -> tuple[str, str]:
    return choice.dwi.series.description, choice.adc.series.description


def code(series, rules=DEFAULT_RULES) -> str:
    with pytest.raises(StudyNotUsable) as caught:
        choose_pair(series, rules)
    return caught.value.code


def raw(uid: str = "1.2.3", name: str = "DTI", **extra):
    return series_of(stack(Kind.B0, 0.0, **extra), directions(**extra), uid=uid, name=name)


def test_sent_images_are_preferred_to_computed_ones() -> None:
    choice = choose_pair([raw(), trace(), adc()])
    assert names(choice) == ("sB1000", "dADC")
    assert not choice.remarks
    assert [one.code for one in choice.rejected] == ["not_preferred"]


def test_raw_images_alone_make_a_pair_and_say_so() -> None:
    choice = choose_pair([raw()])
    assert names(choice) == ("DTI", "DTI")
    assert choice.dwi.computed
    assert choice.adc.computed
    assert choice.remarks == (
        "Trace image computed by pirtad: geometric mean of 3 directions at b 1000 s/mm2; the scanner sent none.",
        "ADC map computed by pirtad: log-linear fit to b 0 and 1000 s/mm2; the scanner sent none that could be used.",
    )
    assert not choice.rejected


def test_a_sent_trace_with_a_map_fitted_from_its_own_series() -> None:
    series = series_of(stack(Kind.B0, 0.0), stack(), name="ep2d_diff_TRACEW")
    choice = choose_pair([series])
    assert (choice.dwi.computed, choice.adc.computed) == (False, True)


def test_the_score_says_why() -> None:
    best, computed = choose_pair([trace(), adc()]).score, choose_pair([raw()]).score
    assert dict(best.terms)["trace_sent"] == dict(best.terms)["adc_sent"] == 15
    assert dict(computed.terms)["trace_sent"] == dict(computed.terms)["adc_sent"] == 0
    assert best.total > computed.total


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"b": 1400.0}),
        ({}, {"b": 800.0}),
        ({"b": 1200.0}, {"b": 1500.0}),
        ({}, {"cosines": CORONAL, "gap_mm": 16.0, "slices": 12, "frame_of_reference_uid": "1.9"}),
        ({"slices": 12}, {"slices": 11, "origin_mm": 3.0}),
    ],
)
def test_what_is_preferred(better, worse) -> None:
    for series in (
        [trace(**better), trace("1.2.7", "worse", **worse)],
        [trace("1.2.7", "worse", **worse), trace(**better)],
    ):
        try:
            choice = choose_pair([*series, adc()])
        except StudyNotUsable as error:
            pytest.fail(error.reason)
        assert names(choice) == ("sB1000", "dADC")


def test_another_b_value_is_remarked_on() -> None:
    assert choose_pair([trace(b=1400.0), adc()]).remarks == (
        "The diffusion-weighted image has b 1400 s/mm2, not about 1000.",
    )
    assert not choose_pair([trace(b=929.75), adc()]).remarks


REPEATED = (
    trace(moment="100000"),
    adc(moment="100000"),
    trace("1.2.5", "sB1000 again", moment="101500"),
    adc("1.2.6", "dADC again", moment="101500"),
)


def test_a_repeated_acquisition_is_refused_unless_the_site_wants_the_last() -> None:
    assert code(REPEATED) == "ambiguous"
    choice = choose_pair(REPEATED, SelectionRules(repeats=Repeats.LAST))
    assert names(choice) == ("sB1000 again", "dADC again")


def test_the_last_of_repeats_without_times_cannot_be_told() -> None:
    series = (trace(), adc(), trace("1.2.5"), adc("1.2.6"))
    assert code(series, SelectionRules(repeats=Repeats.LAST)) == "ambiguous"


def test_a_rule_can_ignore_a_series() -> None:
    rules = SelectionRules(series=(SeriesRule(description="again$", ignore=True),))
    choice = choose_pair(REPEATED, rules)
    assert names(choice) == ("sB1000", "dADC")
    assert {one.code for one in choice.rejected} == {"ignored_by_rule"}


def test_a_rule_can_say_what_a_series_is() -> None:
    unknown = series_of(stack(Kind.OTHER, None), uid="1.2.4", name="PROC_7")
    assert code([unknown, adc()]) == "no_dwi"
    rules = SelectionRules(series=(SeriesRule(description="^proc_7$", kind=Kind.TRACE, b_value_s_per_mm2=1000),))
    assert names(choose_pair([unknown, adc()], rules)) == ("PROC_7", "dADC")


def test_a_rule_can_prefer_a_series_and_name_its_unit() -> None:
    rules = SelectionRules(series=(SeriesRule(description="again", score=5, adc_unit_mm2_per_s=1e-6),))
    choice = choose_pair(REPEATED, rules)
    assert names(choice) == ("sB1000 again", "dADC again")
    assert choice.adc_unit_mm2_per_s == 1e-6


def test_rules_go_by_maker_too() -> None:
    rules = SelectionRules(series=(SeriesRule(manufacturer="another", ignore=True),))
    assert names(choose_pair([trace(), adc()], rules)) == ("sB1000", "dADC")


def test_the_limits_are_the_sites() -> None:
    assert code([trace(b=2500.0), adc()]) == "no_dwi"
    wide = SelectionRules(b_values=BValueLimits(2000.0, 3000.0))
    assert choose_pair([trace(b=2500.0), adc()], wide).b_value_s_per_mm2 == 2500


def test_of_two_b_values_equally_far_the_lower_is_taken() -> None:
    assert choose_pair([trace(b=1200.0), trace("1.2.5", "sB800", b=800.0), adc()]).b_value_s_per_mm2 == 800


def undeclared(uid: str, **extra):
    return series_of(stack(Kind.DWI, **extra), uid=uid, name="DWI")


def test_directions_told_apart_by_time_alone_are_no_repetitions_of_a_trace() -> None:
    # Given three volumes of b 1000 that say nothing of directions, and a map with the time of the first
    times = ("100000.000000", "100100.000000", "100200.000000")
    volumes = [stack(Kind.DWI, moment=moment, acquisition=str(at)) for at, moment in enumerate(times)]
    one_series = series_of(*volumes, name="DWI")
    adc_map = adc(moment=times[0])
    assert code([one_series, adc_map]) == "not_trace"
    assert code([one_series, adc_map], SelectionRules(repeats=Repeats.LAST)) == "not_trace"
    # Then neither are they where each has a series of its own
    apart = [undeclared(f"1.2.{at}", moment=moment) for at, moment in enumerate(times, start=10)]
    assert code([*apart, adc_map]) == "ambiguous"
    assert code([*apart, adc_map], SelectionRules(repeats=Repeats.LAST)) == "ambiguous"
    # and one of them alone is taken, or the one that the site prefers
    assert choose_pair([apart[0], adc_map]).dwi.series is apart[0]
    ahead = SelectionRules(series=(SeriesRule(description="preferred", score=40),))
    preferred = series_of(stack(Kind.DWI), uid="1.2.99", name="preferred")
    assert choose_pair([*apart, preferred, adc_map], ahead).dwi.series is preferred


def test_a_rule_about_a_mixed_series_leaves_the_images_of_other_b_values_alone() -> None:
    # Given b 0, 500 and images that do not say, told apart by time
    mixed = series_of(
        stack(Kind.B0, 0.0, moment="1"),
        stack(Kind.TRACE, 500.0, moment="2"),
        stack(Kind.UNCLEAR, None, moment="3"),
        name="AX DWI ISO",
    )
    rules = SelectionRules(series=(SeriesRule(description="iso", kind=Kind.TRACE, b_value_s_per_mm2=1000),))
    choice = choose_pair([mixed, adc()], rules)
    assert {frame.moment for frame in choice.dwi.frames} == {"3"}
    # and where several volumes would be it, none is
    twice = series_of(stack(Kind.UNCLEAR, None, moment="3"), stack(Kind.UNCLEAR, None, moment="4"), name="AX DWI ISO")
    assert code([twice, adc()], rules) == "not_trace"


def test_a_b_value_rule_keeps_b0_images_and_the_fit_to_them() -> None:
    series = series_of(stack(Kind.B0, 0.0), stack(Kind.TRACE, None), name="DWI")
    rules = SelectionRules(series=(SeriesRule(description="dwi", b_value_s_per_mm2=1000),))
    choice = choose_pair([series], rules)
    assert choice.adc.how == "log-linear fit to b 0 and 1000 s/mm2"


def test_a_series_ruled_b0_is_b0() -> None:
    rules = SelectionRules(series=(SeriesRule(description="sB1000", kind=Kind.B0),))
    with pytest.raises(StudyNotUsable, match="b 0 s/mm2"):
        choose_pair([trace(), adc()], rules)


def test_the_map_of_another_trace_is_not_mixed_in() -> None:
    # Given trace and map of b 800, and later a trace of b 1000 with its b 0 and no map
    early, late = "20260228100000.000000", "20260228102000.000000"
    first = [trace(b=800.0, moment=early), adc(moment=early)]
    second = series_of(stack(Kind.B0, 0.0, moment=late), stack(moment=late), uid="1.2.5", name="later")
    choice = choose_pair([*first, second])
    assert names(choice) in (("sB1000", "dADC"), ("later", "later"))
    assert not any("minutes apart" in remark for remark in choice.remarks)


def test_a_pair_acquired_far_apart_is_remarked_on() -> None:
    series = [trace(moment="20260228235500.000000"), adc(moment="20260301001000.000000")]
    assert choose_pair(series).remarks == ("Diffusion-weighted image and ADC map were acquired 15 minutes apart.",)
    broken = [trace(moment="99999999999999.000000"), adc(moment="20260301001000.000000")]
    assert not choose_pair(broken).remarks


def test_the_last_is_the_last_across_midnight() -> None:
    before, after = "20260228235500.000000", "20260301001000.000000"
    series = [
        trace(moment=before),
        adc(moment=before),
        trace("1.2.5", "again", moment=after),
        adc("1.2.6", "again", moment=after),
    ]
    assert names(choose_pair(series, SelectionRules(repeats=Repeats.LAST))) == ("again", "again")


def test_images_of_one_series_need_no_frame_of_reference() -> None:
    choice = choose_pair([raw(frame_of_reference_uid="")])
    assert choice.adc.computed
    assert code([trace(frame_of_reference_uid=""), adc(frame_of_reference_uid="")]) == "pair_mismatch"


def test_a_coronal_pair_is_remarked_on() -> None:
    upright = {"cosines": CORONAL, "gap_mm": 16.0}
    choice = choose_pair([trace(**upright), adc(**upright)])
    assert choice.remarks == ("The diffusion-weighted image is not axial.",)


def test_a_series_of_another_modality_is_never_used() -> None:
    ct = series_of(stack(), uid="1.2.8", name="sB1000", modality="CT")
    assert code([ct, adc()]) == "no_dwi"


def test_every_series_of_a_refused_study_has_a_reason() -> None:
    found = inspect_series(REPEATED)
    assert found.refused is not None
    assert all(row.rejected_because for row in found.series)
    assert found.dwi is None


def test_inspection_tells_unit_and_affine() -> None:
    found = inspect_series([raw()])
    assert found.dwi is not None
    assert found.adc is not None
    assert (found.dwi.unit, found.adc.unit) == ("arbitrary", "mm2/s")
    assert found.adc.b_values == (0, 1000)
    assert found.dwi.affine[0] == (8, 0, 0, 0)
    assert found.series[0].chosen_as == ("dwi", "adc")
