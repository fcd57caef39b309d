"""Hostile studies: any vendor's packing, anything lying around it, anything broken in it, and the truth known.

Whatever arrives, the outcome is the right pair or a refusal with a reason; never another exception, never a pair of
other images, in another place or another unit.
"""

from __future__ import annotations

import tempfile
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydicom.uid import RLELossless
from support.vendor_writer.damage import DAMAGES, LIES, LOSSES
from support.vendor_writer.distractors import DISTRACTORS, add_distractor
from support.vendor_writer.files import SYNTAXES
from support.vendor_writer.moments import Clock
from support.vendor_writer.raster import Plane, Position, raster
from support.vendor_writer.stored import Stated, map_encoding, signal_encoding
from support.vendor_writer.study import Packing, Study, StudyPlan, build
from support.vendor_writer.truth import fault_of

from pirtad.inference.dicom.choosing.rules import DEFAULT_RULES, Repeats, SelectionRules
from pirtad.inference.dicom.choosing.select import choose_pair, inspect_series
from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.dicom.volumes.assemble import assemble_pair
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.volume import DiffusionPair

HOSTILE_EXAMPLES, SOUND_EXAMPLES = 70, 30
CAMPAIGN_EXAMPLES = 5000
_RELAXED = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

USABLE_B_VALUES = ((1000.0,), (500.0, 1000.0), (1000.0, 2000.0), (900.0,), (1300.0,), (800.0, 1400.0))
OTHER_B_VALUES = ((600.0,), (2000.0,))


@st.composite
def plans(draw: st.DrawFn, b_values: tuple[tuple[float, ...], ...], repeats: tuple[int, ...] = (1,)) -> StudyPlan:
    """A sound study of any vendor."""
    raw, derived = draw(st.sampled_from([(False, True), (True, False), (True, True)]))
    packing = draw(st.sampled_from(Packing))
    acquired = draw(st.sampled_from(b_values))
    signed, one_object = draw(st.booleans()), draw(st.booleans())
    many_files = packing not in (Packing.SIEMENS_MOSAIC, Packing.UIH_GRID, Packing.ENHANCED) and len(acquired) > 1
    return StudyPlan(
        packing=packing,
        raw=raw,
        derived=derived,
        where=raster(
            draw(st.sampled_from(Plane)), draw(st.sampled_from(Position)), gap_mm=13.0, reverse=draw(st.booleans())
        ),
        b_values=acquired,
        directions=3 if many_files else draw(st.sampled_from([3, 6])),
        with_b0=draw(st.booleans()),
        repeats=draw(st.sampled_from(repeats)),
        clock=draw(st.sampled_from(Clock)),
        signal=signal_encoding(slope=draw(st.sampled_from([1.0, 1.25])), signed=signed, uneven=draw(st.booleans())),
        map=map_encoding(
            draw(st.sampled_from([1e-6, 1e-3, 1.0])),
            draw(st.sampled_from(Stated)),
            signed=signed if one_object else draw(st.booleans()),
            uneven=draw(st.booleans()),
        ),
        one_object=one_object,
        crowded=draw(st.booleans()),
        # Damaged images cannot be compressed; test_left_is_left has RLE.
        syntax=draw(st.sampled_from([syntax for syntax in SYNTAXES if syntax != RLELossless])),
        seed=draw(st.integers(0, 99)),
    )


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, ...]:
    """Up to four different operators in any order; where one lies about what an image is, none hides it."""
    names = draw(st.lists(st.sampled_from(sorted(DAMAGES.keys() - LIES - LOSSES)), max_size=3, unique=True))
    if draw(st.booleans()):
        names.append(draw(st.sampled_from(sorted(LIES))))
    else:
        names += draw(st.lists(st.sampled_from(sorted(LOSSES)), min_size=1, max_size=2, unique=True))
    return tuple(draw(st.permutations(names)))


@st.composite
def hostile_plans(draw: st.DrawFn) -> tuple[StudyPlan, tuple[str, ...]]:
    """A study of any vendor and what is done to it. Directions that say nothing of being any are left with one b value
    each, which must not be a lie then."""
    plan, names = draw(plans(USABLE_B_VALUES + OTHER_B_VALUES, (1, 1, 1, 2))), draw(damages())
    undeclared = plan.raw and "contradict_b" not in names and draw(st.booleans())
    return replace(plan, undeclared=undeclared), names


LAST_RULES = SelectionRules(repeats=Repeats.LAST)
others = st.lists(st.sampled_from(list(DISTRACTORS)), max_size=3, unique=True)


def outcome(study: Study, rules: SelectionRules = DEFAULT_RULES) -> DiffusionPair | StudyNotUsable:
    """What the reader makes of a study; that it can be explained is a part of it."""
    with tempfile.TemporaryDirectory() as directory:
        paths = study.write(Path(directory))
        try:
            series = read_series(paths)
            inspect_series(series, rules).to_dict()
            return assemble_pair(choose_pair(series, rules))
        except StudyNotUsable as refusal:
            return refusal


@settings(max_examples=SOUND_EXAMPLES, deadline=None, suppress_health_check=_RELAXED)
@given(plan=plans(USABLE_B_VALUES), distractors=others)
def test_sound_studies_give_their_pair(plan: StudyPlan, distractors: list[str]):
    # Given a sound study with anything beside the pair
    study = build(plan)
    for name in distractors:
        add_distractor(study, name)
    # Then its pair comes out
    found = outcome(study)
    assert isinstance(found, DiffusionPair), f"{found.code}: {found}"
    assert not fault_of(found, study.anatomy, plan.b_values)


def check_hostile(damaged: tuple[StudyPlan, tuple[str, ...]], distractors: list[str], seed: int, rules: SelectionRules):
    plan, names = damaged
    # Given a study with anything beside the pair, damaged in several ways
    study = build(plan)
    for name in distractors:
        add_distractor(study, name)
    for number, name in enumerate(names):
        DAMAGES[name](study, Random(seed + number))
    # When it is read
    found = outcome(study, rules)
    # Then it is refused with a code and a reason, or the pair is the true one
    if isinstance(found, StudyNotUsable):
        event(f"refused: {found.code}")
        assert found.code
        assert found.reason
        return
    event("read")
    assert not fault_of(found, study.anatomy, plan.b_values)


hostile = given(
    damaged=hostile_plans(),
    distractors=others,
    seed=st.integers(0, 2**16),
    rules=st.sampled_from([DEFAULT_RULES, LAST_RULES]),
)


@settings(max_examples=HOSTILE_EXAMPLES, deadline=None, suppress_health_check=_RELAXED)
@hostile
def test_hostile_studies_are_read_right_or_refused(
    damaged: tuple[StudyPlan, tuple[str, ...]], distractors: list[str], seed: int, rules: SelectionRules
):
    check_hostile(damaged, distractors, seed, rules)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=CAMPAIGN_EXAMPLES, deadline=None, suppress_health_check=_RELAXED)
@hostile
def test_many_hostile_studies_are_read_right_or_refused(
    damaged: tuple[StudyPlan, tuple[str, ...]], distractors: list[str], seed: int, rules: SelectionRules
):
    check_hostile(damaged, distractors, seed, rules)


@pytest.mark.parametrize(
    "lost", [("PixelSpacing",), ("ImageOrientationPatient",), ("DiffusionBValue", "SequenceName", "ImageComments")]
)
def test_a_direction_that_cannot_be_used_is_not_left_out_in_silence(lost: tuple[str, ...]):
    # Given six directions, all images of the second of which lost an attribute
    plan = StudyPlan(Packing.CANON, raw=True, derived=False, directions=6)
    study = build(plan)
    for dataset in study.series["raw"][2 * plan.where.slices : 3 * plan.where.slices]:
        for keyword in lost:
            if keyword in dataset:
                del dataset[keyword]
    # Then no trace of the other five stands in for that of all six
    found = outcome(study)
    assert isinstance(found, StudyNotUsable) or not fault_of(found, study.anatomy, plan.b_values)


def test_a_direction_acquired_twice_counts_once():
    # Given six directions, the fifth of which was acquired once more than the others
    plan = StudyPlan(Packing.SIEMENS_MOSAIC, raw=True, derived=False, directions=6)
    study = build(plan)
    again = deepcopy(study.series["raw"][5])
    again.SOPInstanceUID = f"{again.SOPInstanceUID}.7"
    again.InstanceNumber, again.AcquisitionNumber = 99, 2
    study.series["raw"].append(again)
    # Then the trace is that of the six, or there is none
    found = outcome(study)
    assert isinstance(found, StudyNotUsable) or not fault_of(found, study.anatomy, plan.b_values)


@pytest.mark.parametrize("clock", [Clock.SHARED, Clock.VOLUMES])
@pytest.mark.parametrize("packing", Packing)
def test_directions_that_nothing_declares_are_no_traces(packing: Packing, clock: Clock):
    # Given three directions with a number and a time each, none of which says that it is one, and the scanner's map
    plan = StudyPlan(packing, raw=True, clock=clock, undeclared=True)
    study = build(plan)
    del study.series["trace"]
    # Then none of them, not the last either, stands for the trace
    found = outcome(study, LAST_RULES)
    assert isinstance(found, StudyNotUsable), fault_of(found, study.anatomy, plan.b_values)


@pytest.mark.parametrize("packing", Packing)
def test_the_trace_beside_undeclared_directions_is_found(packing: Packing):
    plan = StudyPlan(packing, raw=True, clock=Clock.VOLUMES, undeclared=True)
    study = build(plan)
    found = outcome(study, LAST_RULES)
    assert isinstance(found, DiffusionPair), f"{found.code}: {found}"
    assert not fault_of(found, study.anatomy, plan.b_values)
