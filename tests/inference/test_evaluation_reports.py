"""What is read from a report and how it is judged, on texts whose faults are known."""

from __future__ import annotations

import numpy as np
import pytest

from pirtad.inference.evaluation.reports.baselines import model_alone, nearest_copied, template_vote
from pirtad.inference.evaluation.reports.claims import claims_of
from pirtad.inference.evaluation.reports.faithfulness import evidence_of, omitted, truth_of, unsupported
from pirtad.inference.evaluation.reports.query import prepared, query_of, references
from pirtad.inference.evaluation.reports.registries import drawn_registry
from pirtad.inference.evaluation.reports.registry_facts import invented_facts
from pirtad.inference.evaluation.reports.written import sections
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.lesion.measurement import LesionMeasurement
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.report.report import Registry, SimilarCase
from pirtad.inference.report.wording import impressions, measured_sentences, reading
from pirtad.inference.training.cases import CaseRecipe, SimulatedCase

ANTERIOR = Finding(Territory.ANTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE)
MEASURED = LesionMeasurement(
    12.34, "left", 2, 0.51e-3, 0.88e-3, 0.58, None, {Territory.ANTERIOR: 0.86, Territory.DEEP_GRAY_MATTER: 0.14}
)


def case(finding: Finding = ANTERIOR, *, bilateral: bool = False) -> SimulatedCase:
    """A stored case: a box of brain with a lesion on the left."""
    array = np.zeros((2, *SHAPE), dtype=np.float16)
    array[:, 20:76, 20:90, 8:40] = 1
    lesion = np.zeros(SHAPE, dtype=np.bool_)
    infarct = finding.territory is not Territory.NORMAL
    if infarct:
        lesion[60:66, 50:58, 30:33] = True
        array[0][lesion] = 3
    return SimulatedCase(
        recipe=CaseRecipe(300_001, finding.territory),
        array=array,
        lesion=lesion,
        territories=np.zeros(SHAPE, dtype=np.uint8),
        finding=finding,
        side="left" if infarct else None,
        bilateral=bilateral,
        volume_ml=12.0 if infarct else 0.0,
        shares={finding.territory: 0.9, Territory.DEEP_GRAY_MATTER: 0.1} if infarct else {},
        mean_adc_mm2_per_s=0.5e-3 if infarct else None,
    )


def similar(*territories: Territory) -> tuple[SimilarCase, ...]:
    lacune = {one: Finding(one, SignalClass.STRONG, InfarctType.SMALL_LACUNE) for one in Territory if one != "normal"}
    findings = {Territory.NORMAL: Finding(Territory.NORMAL), **lacune}
    return tuple(
        SimilarCase(f"sim-{number}", 0.9 - number / 100, one, findings[one].sentence())
        for number, one in enumerate(territories)
    )


def report(findings: str, impression: str = "") -> str:
    return sections(
        "A 75-year-old Female patient.", "4.0", "HTN", findings, impression or "Diffusion restriction as above."
    )


@pytest.mark.parametrize("finding", FINDING_OF_SENTENCE.values(), ids=lambda one: one.sentence()[:60])
@pytest.mark.parametrize("words", [Finding.sentence, reading], ids=["table 1", "reading"])
def test_every_statement_of_the_vocabulary_is_read_as_what_it_says(finding: Finding, words) -> None:
    claims = claims_of(report(words(finding), impressions(finding.territory, acute=True)[0]))
    infarct = finding.territory is not Territory.NORMAL
    assert claims.territory is finding.territory
    assert claims.restriction is infarct
    assert claims.territories == ({finding.territory} if infarct else set())
    assert claims.signals == ({finding.signal_class} if infarct else set())
    assert claims.types == ({finding.infarct_type} if infarct else set())
    assert not claims.outside
    assert not claims.sides
    assert not claims.also_denied
    assert claims.unread == 0


def test_a_faithful_report_with_its_measurement_has_no_fault_and_omits_nothing() -> None:
    # Given a report of ours, with side, volume, foci, ADC and territories as measured
    text = report(
        " ".join((reading(ANTERIOR), *measured_sentences(MEASURED))),
        f"{impressions(Territory.ANTERIOR, acute=True)[0]} The measured lesion is on the left. "
        "Supported by 5 of 5 similar cases.",
    )
    claims = claims_of(text)
    # Then all of it is read, and both truth and evidence bear it out
    assert claims.sides == {"left"}
    assert claims.volumes_ml == (12.3,)
    assert claims.foci == (2,)
    assert claims.adcs_mm2_per_s == pytest.approx((0.51e-3,))
    assert claims.territories == {Territory.ANTERIOR, Territory.DEEP_GRAY_MATTER}
    assert claims.unread == 0
    evidence = evidence_of(similar(*[Territory.ANTERIOR] * 5), MEASURED)
    for support in (truth_of(case()), evidence):
        assert unsupported(claims, support) == ()
        assert omitted(claims, support) == ()


@pytest.mark.parametrize(
    ("lie", "kinds"),
    [
        ("The measured lesion is on the right.", {"side"}),
        ("No haemorrhage.", {"haemorrhage"}),
        ("FLAIR is normal.", {"other sequences"}),
        ("It measures 3 mm.", {"length"}),
        ("Reduced ADC, measured by software and not verified: left, 40.0 ml in 2 foci.", {"volume"}),
        ("M1 occlusion.", {"vessels"}),
        ("Thrombolysis is advised; aspirin recommended.", {"advice"}),
        (Finding(Territory.POSTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE).sentence(), {"territory"}),
    ],
)
def test_a_planted_lie_is_counted_against_truth_and_evidence(lie: str, kinds: set[str]) -> None:
    claims = claims_of(report(f"{ANTERIOR.sentence()} {lie}"))
    assert set(unsupported(claims, truth_of(case()))) == kinds
    assert set(unsupported(claims, evidence_of(similar(*[Territory.ANTERIOR] * 5), MEASURED))) == kinds


def test_truth_and_evidence_are_judged_apart() -> None:
    # Given similar cases that are wrong about the territory, and a report faithful to them
    claims = claims_of(report(Finding(Territory.POSTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE).sentence()))
    evidence = evidence_of(similar(*[Territory.POSTERIOR] * 5), None)
    # Then the evidence supports it and the truth does not
    assert unsupported(claims, evidence) == ()
    assert omitted(claims, evidence) == ()
    assert unsupported(claims, truth_of(case())) == ("territory",)
    assert set(omitted(claims, truth_of(case()))) == {"territory", "side"}


def test_a_denied_infarct_is_unsupported_and_omits_all_of_it() -> None:
    claims = claims_of(report(Finding(Territory.NORMAL).sentence(), "No acute infarction."))
    assert claims.territory is Territory.NORMAL
    assert not claims.acute
    assert unsupported(claims, truth_of(case())) == ("restriction",)
    assert set(omitted(claims, truth_of(case()))) == {"restriction", "territory", "signal", "type", "side"}
    assert unsupported(claims, truth_of(case(Finding(Territory.NORMAL)))) == ()


def test_acute_needs_a_measured_lesion() -> None:
    claims = claims_of(report(ANTERIOR.sentence(), impressions(Territory.ANTERIOR, acute=True)[1]))
    copied = claims_of("Findings: " + ANTERIOR.sentence() + "\nImpression: Acute infarction.")
    assert copied.acute
    neighbours = similar(*[Territory.ANTERIOR] * 5)
    assert "acute" in unsupported(copied, evidence_of(neighbours, None))
    assert "acute" not in unsupported(copied, evidence_of(neighbours, MEASURED))
    assert "acute" in unsupported(claims_of("Impression: Acute infarction."), truth_of(case(Finding(Territory.NORMAL))))
    assert unsupported(claims, truth_of(case())) == ()


def test_either_side_may_be_named_of_a_bilateral_lesion_and_none_of_a_normal_brain() -> None:
    both = claims_of(report(ANTERIOR.sentence(), "The measured lesion is on both sides."))
    assert both.sides == {"bilateral"}
    assert "side" not in unsupported(both, truth_of(case(bilateral=True)))
    assert "side" in unsupported(both, truth_of(case()))
    assert "side" in unsupported(both, truth_of(case(Finding(Territory.NORMAL))))


def test_the_side_of_the_patient_s_complaint_is_no_side_of_the_lesion() -> None:
    text = sections("A patient with Left hemiparesis.", "4.0", "HTN", ANTERIOR.sentence(), "Explains left hemiparesis.")
    assert claims_of(text).sides == set()


def test_facts_that_the_registry_does_not_have_are_found() -> None:
    registry = Registry(75, "Female", "Dysarthria", None, "HTN, Afib")
    true = sections("A 75-year-old Female patient with Dysarthria.", "not provided", "HTN, Afib", "x", "y")
    assert invented_facts(true, registry) == ()
    false = sections("A 57-year-old man with aphasia.", "12.0", "hypertension, diabetes", "x", "y")
    assert set(invented_facts(false, registry)) == {"age", "sex", "nihss", "aphasia", "diabetes"}
    assert "nihss" in invented_facts("NIHSS of 5", Registry(nihss=4.0))
    assert invented_facts("NIHSS: 4", Registry(nihss=4.0)) == ()


def test_registries_are_drawn_with_gaps_and_always_of_adults_of_known_age() -> None:
    drawn = [drawn_registry(seed) for seed in range(200)]
    assert drawn == [drawn_registry(seed) for seed in range(200)]
    assert all(one.age_years is not None and not one.is_minor for one in drawn)
    for name in ("presentation", "nihss", "history"):
        given = sum(getattr(one, name) is not None for one in drawn)
        assert 0 < given < len(drawn)


def test_a_query_is_prepared_on_the_network_s_grid_with_adc_in_si_units() -> None:
    study = prepared(query_of(case()))
    assert study.pair is not None
    assert study.network_input.mask.sum() == 56 * 70 * 32
    assert study.pair.adc_mm2_per_s.array.max() == pytest.approx(1e-3)
    assert study.pair.dwi.spacing_mm == (2.0, 2.0, 4.0)
    # The middle of the grid is the origin: greater x is the patient's left.
    assert study.pair.dwi.affine[:3] @ [47.5, 55.5, 23.5, 1] == pytest.approx([0, 0, 0])


def test_baselines_write_what_they_are_named_for() -> None:
    registry = Registry(75, "Female", None, 4.0, "HTN")
    neighbours = similar(Territory.POSTERIOR, Territory.ANTERIOR, Territory.ANTERIOR)
    vote = template_vote(registry, neighbours)
    assert claims_of(vote.text).territory is Territory.ANTERIOR
    assert invented_facts(vote.text, registry) == ()
    copied = nearest_copied("Findings: Infarct in the left pons.\nImpression: Acute infarction.")
    assert claims_of(copied.text).sides == {"left"}
    assert copied.compared == "Infarct in the left pons. Acute infarction."
    assert references(query_of(case()))[1] == f"{ANTERIOR.sentence()} Acute infarction."


def test_the_model_alone_sees_no_case_and_may_fail_to_write_a_report() -> None:
    registry = Registry(75, "Female", None, 4.0, "HTN")
    good = (
        '{"clinical_presentation": "A man.", "nihss": "9", "past_medical_history": "DM", '
        '"findings": "There is diffusion restriction in the left pons.", "impression": "Acute infarct."}'
    )
    model = FakeLanguageModel([good, "no JSON", '{"findings": "x"}', "[1]"])
    said = model_alone(model, registry, 1.0)
    assert said is not None
    assert claims_of(said.text).territory is Territory.POSTERIOR
    assert set(invented_facts(said.text, registry)) == {"sex", "nihss", "diabetes"}
    assert [model_alone(model, registry, 1.0) for _ in range(3)] == [None, None, None]
    (first, *_) = model.requests
    assert "Similar" not in first.messages[1]["content"]
    assert all(one["maxLength"] > 0 for one in first.json_schema["properties"].values())
