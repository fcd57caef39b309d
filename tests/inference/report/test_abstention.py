"""When no draft is given, and that the reasons can be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pirtad.inference.findings import InfarctType, SignalClass, Territory
from pirtad.inference.lesion.measurement import no_lesion
from pirtad.inference.ood.calibration import Assessment
from pirtad.inference.report.abstention import DraftRules, reasons_to_abstain
from pirtad.inference.report.evidence import weigh
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.report.generate import Generator, Sources
from pirtad.inference.report.report import Registry
from pirtad.inference.report.wording import NO_FINDINGS, NO_RELIABLE_DRAFT, measured_sentences, measured_side

SOURCES = Sources("vit-b", "e" * 64, "pre-1", "c" * 64, "0.1.0")
FAMILIAR = Assessment(0.4, 1.0, False, (), 0.9)


def test_agreement_on_a_familiar_study_of_an_adult_is_no_reason(registry, table_3, found, lesion) -> None:
    analysis = found(table_3, lesion, familiar=FAMILIAR)
    assert reasons_to_abstain(registry, weigh(table_3), analysis, DraftRules()) == ()


@pytest.mark.parametrize(
    ("age", "rules", "reasons"),
    [
        (None, DraftRules(), 1),
        (None, DraftRules(unknown_age=True), 0),
        (17, DraftRules(), 1),
        (17, DraftRules(unknown_age=True), 1),
        (17, DraftRules(minors=True), 0),
        (18, DraftRules(), 0),
    ],
)
def test_drafts_are_for_adults_unless_the_site_says_otherwise(table_3, found, lesion, age, rules, reasons) -> None:
    said = reasons_to_abstain(Registry(age), weigh(table_3), found(table_3, lesion), rules)
    assert len(said) == reasons
    assert all("adults" in one for one in said)


def test_a_contradiction_is_told_and_not_hidden(registry, table_3, found, lesion) -> None:
    # Given neighbours that say anterior, a head that says posterior, and no lesion to measure
    analysis = found(table_3, no_lesion(3), head=Territory.POSTERIOR)
    report = Generator(FakeLanguageModel(), SOURCES).generate(registry, analysis)
    assert not report.is_draft
    assert (report.findings, report.impression) == (NO_FINDINGS, NO_RELIABLE_DRAFT)
    assert len(report.abstained_because) == 4
    text = report.text()
    assert "The classifier says posterior circulation, the similar cases say anterior circulation." in text
    assert "3 bright spots on DWI without reduced ADC: may be subacute, T2 shine-through or artefact." in text
    assert "acute infarction" not in text.lower()


def test_a_measured_infarct_is_listed_although_the_neighbours_are_normal(registry, case, found, lesion) -> None:
    # Given what costs a patient most: a lesion that the vote does not see
    similar = [case(Territory.NORMAL)] * 5
    report = Generator(FakeLanguageModel(), SOURCES).generate(registry, found(similar, lesion))
    assert not report.is_draft
    assert "145.3 ml" in report.text()
    assert "No diffusion restriction detected" not in report.findings + report.impression


@pytest.mark.parametrize(
    ("familiar", "rules", "words"),
    [
        (replace(FAMILIAR, is_out=True, reasons=("dark core",)), DraftRules(), "unlike those"),
        (replace(FAMILIAR, is_out=True, reasons=("dark core",)), DraftRules(out_of_distribution=True), ""),
        (replace(FAMILIAR, territory_probability=0.31), DraftRules(), "31%"),
        (replace(FAMILIAR, territory_probability=0.31), DraftRules(least_probability=0.3), ""),
        (FAMILIAR, DraftRules(least_similarity=0.9), "the best similarity is 0.87"),
    ],
)
def test_unfamiliar_and_unsupported_studies(registry, table_3, found, lesion, familiar, rules, words) -> None:
    said = reasons_to_abstain(registry, weigh(table_3), found(table_3, lesion, familiar=familiar), rules)
    assert len(said) == bool(words)
    assert all(words in one for one in said)


def test_what_the_sites_rules_let_pass_is_told_all_the_same(table_3, found, lesion) -> None:
    # Given a site that drafts for patients of unknown age and for studies unlike the known ones
    rules = DraftRules(unknown_age=True, out_of_distribution=True)
    unlike = replace(FAMILIAR, is_out=True, reasons=("dark core",))
    generator = Generator(FakeLanguageModel(), SOURCES, rules=rules)
    report = generator.generate(Registry(), found(table_3, lesion, familiar=unlike))
    # Then the draft says what the software knows
    assert report.is_draft
    assert report.image_notes == (
        "The patient's age is not known; drafts are for adults.",
        "The study is unlike those the models were made for: dark core.",
    )
    # And that something was not looked at
    blind = generator.generate(Registry(70), found(table_3)).image_notes
    assert blind == (
        "Whether this study is like those the models were made for was not assessed.",
        "Side and size of a lesion were not measured.",
    )


def test_a_pattern_that_the_measured_volume_contradicts_is_not_written(registry, case, found, lesion) -> None:
    # Given neighbours with large and with small infarcts, and 145 ml
    large, small = InfarctType.LARGE_VASCULAR_TERRITORIAL, InfarctType.SMALL_LACUNE
    strong = SignalClass.STRONG
    similar = [case(Territory.ANTERIOR, 0.9, strong, small), case(Territory.ANTERIOR, 0.8, strong, large)]
    report = Generator(FakeLanguageModel(), SOURCES).generate(registry, found(similar, lesion))
    # Then the small ones' words are not this patient's
    assert "large vascular territorial" in report.findings
    # And where no neighbour's fit, there is no draft
    report = Generator(FakeLanguageModel(), SOURCES).generate(registry, found(similar[:1], lesion))
    assert report.abstained_because == (
        "No similar case has an infarct type that fits the measured lesion of 145.3 ml.",
    )


def test_a_side_that_is_not_known_is_not_made_up(lesion) -> None:
    first = measured_sentences(replace(lesion, side=None, mean_adc_mm2_per_s=None, foci=1))[0]
    assert first == "Reduced ADC, measured by software and not verified: side not known, 145.3 ml in 1 focus."
    assert measured_side(replace(lesion, side=None)) == measured_side(None) == measured_side(no_lesion()) == ""
    assert measured_side(replace(lesion, side="bilateral")) == "The measured lesion is on both sides. "
    assert measured_sentences(None) == ()
    assert measured_sentences(no_lesion()) == ()
