"""The day's own parts: its plan, its images, and that what grows is called so."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support.day_images import DayImages, write_light_template
from support.day_plan import Kind, Sending, plan_day
from support.day_samples import course_of

STUDIES = 500


def _seen(per_study: float) -> list[tuple[int, float]]:
    """Memory in MiB of a process that fills its caches over the first hundred studies, and then as told."""
    draw = random.Random(1)
    return [(done, 600 + min(done, 100) + per_study * done + draw.uniform(-1, 1)) for done in range(STUDIES)]


@pytest.mark.parametrize(("per_study_mib", "is_leak"), [(0.0, False), (0.01, False), (0.1, True)])
def test_a_leak_is_told_from_caches_that_fill(per_study_mib: float, is_leak: bool) -> None:
    course = course_of(_seen(per_study_mib))

    assert course.grows(4.0, 0.02) is is_leak
    assert course.per_100 == pytest.approx(100 * per_study_mib, abs=0.2)


def test_a_handle_that_stays_open_at_every_tenth_study_is_noticed() -> None:
    assert course_of([(done, 20 + done // 10) for done in range(STUDIES)]).grows(2)
    assert not course_of([(done, 20 + done % 5) for done in range(STUDIES)]).grows(2)


def test_what_was_not_seen_is_not_called_flat() -> None:
    assert course_of([(0, 20.0), (0, 20.0)]).grows(2)


@pytest.mark.parametrize("studies", [8, 50, STUDIES])
def test_a_day_has_every_kind_and_every_second_part_after_its_first(studies: int) -> None:
    plan = plan_day(studies, 600.0, (10.0, 20.0), seed=1)

    firsts = {one.study_uid: one for one in plan if one.part == 0}
    assert len(firsts) == studies
    assert {one.kind for one in plan} == set(Kind)
    assert [one.at_s for one in plan] == sorted(one.at_s for one in plan)
    assert all(0 <= one.at_s <= 600 for one in firsts.values())
    for one in plan:
        assert one.part == 0 or one.at_s >= firsts[one.study_uid].at_s
    # quiet nights, peaks by day
    night = sum(one.at_s < 150 for one in firsts.values())
    assert night < studies / 8 or studies < STUDIES


def test_the_parts_of_a_study_make_it_whole_and_are_the_same_again(tmp_path: Path) -> None:
    write_light_template(tmp_path)
    images = DayImages(tmp_path)

    def uids(kind: Kind, *parts: int) -> list[str]:
        return [str(image.SOPInstanceUID) for part in parts for image in images.of(Sending(0.0, "2.25.5", kind, part))]

    whole = sorted(uids(Kind.ROUTINE, 0))
    assert sorted(uids(Kind.LATE, 0, 1)) == sorted(uids(Kind.PARTS, 0, 1)) == whole
    assert uids(Kind.RESENT, 0) == uids(Kind.RESENT, 1)
    assert set(whole) < set(uids(Kind.EXAM, 0))
    assert len(set(uids(Kind.EARLY, 0, 1))) == len(uids(Kind.EARLY, 0, 1)) > len(whole)
