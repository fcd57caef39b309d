from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.findings import NORMAL_FINDING, Finding, InfarctType, SignalClass, Territory
from pirtad.inference.report.evidence import TERRITORY_OF_SENTENCE, weigh
from pirtad.inference.report.report import SimilarCase

ANTERIOR, DEEP, POSTERIOR, NORMAL = (
    Territory.ANTERIOR,
    Territory.DEEP_GRAY_MATTER,
    Territory.POSTERIOR,
    Territory.NORMAL,
)
retrieved = st.lists(
    st.builds(
        lambda item, similarity, number: SimilarCase(str(number), similarity, item[1], item[0]),
        st.sampled_from(sorted(TERRITORY_OF_SENTENCE.items())),
        st.floats(-1, 1),
        st.integers(0, 99),
    ),
    min_size=1,
    max_size=5,
)


def test_every_structured_sentence_is_known_and_distinct():
    assert len(TERRITORY_OF_SENTENCE) == 1 + 3 * len(SignalClass) * len(InfarctType)


def test_weights_are_similarities_not_head_counts(case):
    # Given three weak neighbours of one territory and two strong ones of another
    similar = [
        case(ANTERIOR, 0.9),
        case(ANTERIOR, 0.8),
        case(POSTERIOR, 0.3),
        case(POSTERIOR, 0.3),
        case(POSTERIOR, 0.2),
    ]
    # When they vote
    evidence = weigh(similar)
    # Then the heavier side wins, and the count of those who agree is kept
    assert evidence.territory is ANTERIOR
    assert evidence.support == "2 of 5 similar cases"


def test_equal_sums_go_to_the_best_single_case(case):
    similar = [case(POSTERIOR, 0.25), case(POSTERIOR, 0.5), case(DEEP, 0.75)]
    assert weigh(similar).territory is DEEP


def test_a_full_tie_prefers_the_lesion(case):
    assert weigh([case(NORMAL, 0.5), case(POSTERIOR, 0.5)]).territory is POSTERIOR


def test_dissimilar_cases_do_not_vote_against(case):
    similar = [case(ANTERIOR, 0.4), case(ANTERIOR, -0.9), case(POSTERIOR, 0.3)]
    assert weigh(similar).territory is ANTERIOR


def test_only_sentences_of_the_territory_the_best_supported_first(case):
    lacune, large = InfarctType.SMALL_LACUNE, InfarctType.LARGE_VASCULAR_TERRITORIAL
    similar = [
        case(ANTERIOR, 0.9, SignalClass.MILD, large),
        case(ANTERIOR, 0.5, SignalClass.STRONG, lacune),
        case(ANTERIOR, 0.5, SignalClass.STRONG, lacune),
        case(DEEP, 0.8),
        case(NORMAL, 0.7),
    ]
    assert weigh(similar).sentences == (
        Finding(ANTERIOR, SignalClass.STRONG, lacune).sentence(),
        Finding(ANTERIOR, SignalClass.MILD, large).sentence(),
    )


def test_normal_neighbours_support_the_normal_sentence(case):
    assert weigh([case(NORMAL, 0.9), case(ANTERIOR, 0.2)]).sentences == (NORMAL_FINDING,)


def test_nothing_retrieved_supports_nothing():
    with pytest.raises(ModelMismatch) as caught:
        weigh([])
    assert caught.value.code == "no_similar_cases"


@pytest.mark.parametrize(
    "finding",
    [
        "There is infarction of the left insula.",
        Finding(POSTERIOR, SignalClass.MILD, InfarctType.SMALL_LACUNE).sentence(),
        NORMAL_FINDING,
    ],
)
def test_a_case_whose_sentence_is_not_its_territorys_is_refused(finding):
    # Given a case base that was edited or built wrongly
    wrong = SimilarCase("case-7", 0.9, ANTERIOR, finding)
    # Then nothing is built on it, and the operator learns which case
    with pytest.raises(ModelMismatch, match="case-7") as caught:
        weigh([wrong])
    assert caught.value.code == "case_base_finding"


@pytest.mark.parametrize("similarity", [math.nan, math.inf])
def test_a_similarity_that_is_no_number_is_refused(case, similarity):
    with pytest.raises(ModelMismatch):
        weigh([case(ANTERIOR, 0.9), case(POSTERIOR, similarity)])


@given(retrieved, st.randoms())
def test_the_order_of_the_cases_does_not_matter(similar, random):
    shuffled = list(similar)
    random.shuffle(shuffled)
    assert weigh(shuffled) == weigh(similar)


@given(retrieved)
def test_evidence_is_what_the_cases_say(similar):
    evidence = weigh(similar)
    agreeing = [case for case in similar if case.territory is evidence.territory]
    assert (evidence.agreeing, evidence.total) == (len(agreeing), len(similar))
    assert set(evidence.sentences) == {case.finding for case in agreeing}
    assert len(set(evidence.sentences)) == len(evidence.sentences)
