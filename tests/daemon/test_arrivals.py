"""What is known of the associations that bring a study."""

from __future__ import annotations

from pirtad.daemon.arrivals import UNSEEN, Arrivals

STUDY, OTHER = "1.2", "1.3"


def test_each_open_association_has_its_front_until_it_ends():
    arrivals = Arrivals()
    arrivals.took(1, STUDY, "1.2.1", 10.0)
    arrivals.took(2, STUDY, "1.2.2", 11.0)
    arrivals.took(1, STUDY, "1.2.3", 12.0)
    assert arrivals.of(STUDY, 10.0).fronts == {"1.2.3", "1.2.2"}
    arrivals.ended(1, 13.0, is_released=True)
    found = arrivals.of(STUDY, 10.0)
    assert (found.fronts, found.is_trusted, found.changed_at) == ({"1.2.2"}, True, 13.0)


def test_an_end_without_release_is_remembered_and_is_of_its_studies_alone():
    arrivals = Arrivals()
    arrivals.took(1, STUDY, "1.2.1", 10.0)
    arrivals.took(2, OTHER, "1.3.1", 10.0)
    arrivals.ended(1, 11.0, is_released=False)
    arrivals.ended(1, 12.0, is_released=True)  # told twice: the first word holds
    assert not arrivals.of(STUDY, 10.0).is_trusted
    assert arrivals.of(OTHER, 10.0).is_trusted


def test_a_round_that_began_before_this_process_is_not_trusted():
    arrivals = Arrivals()
    assert arrivals.of(STUDY, 10.0) is UNSEEN
    arrivals.took(1, STUDY, "1.2.1", 100.0)
    assert not arrivals.of(STUDY, 10.0).is_trusted
    assert arrivals.of(STUDY, 99.9).is_trusted


def test_a_series_over_two_associations_is_split():
    arrivals = Arrivals()
    arrivals.took(1, STUDY, "1.2.1", 10.0)
    arrivals.took(2, STUDY, "1.2.2", 10.0)
    assert not arrivals.of(STUDY, 10.0).is_split
    arrivals.took(2, STUDY, "1.2.1", 10.0)
    assert arrivals.of(STUDY, 10.0).is_split


def test_one_urgent_image_makes_the_study_urgent():
    arrivals = Arrivals()
    arrivals.took(1, STUDY, "1.2.1", 10.0, is_urgent=True)
    arrivals.took(1, STUDY, "1.2.1", 11.0)
    assert arrivals.of(STUDY, 10.0).is_urgent


def test_what_is_over_is_forgotten_after_a_while_and_nothing_else():
    arrivals = Arrivals()
    arrivals.took(1, STUDY, "1.2.1", 10.0)
    arrivals.took(2, OTHER, "1.3.1", 10.0)
    arrivals.ended(1, 11.0, is_released=True)
    arrivals.forget_all_but(frozenset(), 12.0)
    assert arrivals.of(STUDY, 10.0).is_trusted  # its images may not be registered yet
    arrivals.forget_all_but(frozenset({STUDY}), 100.0)
    assert arrivals.of(STUDY, 10.0).is_trusted
    arrivals.forget_all_but(frozenset(), 100.0)
    assert arrivals.of(STUDY, 10.0) is UNSEEN
    assert arrivals.of(OTHER, 10.0).fronts == {"1.3.1"}  # still being brought
