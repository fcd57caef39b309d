"""The measurements as a machine reads them: what is found, where, how large, and what is not said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from highdicom.sr import ContentItem, MeasurementReport
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.lesion.measurement import LesionMeasurement, RegionShare, no_lesion
from pirtad.inference.report.report import DRAFT_MARK, Basis, Report
from pirtad.inference.report.wording import NO_RELIABLE_DRAFT, reading
from pirtad.worker.errors import NonConformant
from pirtad.worker.sr import codes, territory_codes
from pirtad.worker.sr.check import dciodvfy_errors, serialise
from pirtad.worker.sr.evidence import references
from pirtad.worker.sr.identity import SrIdentity
from pirtad.worker.sr.measurement_groups import parts
from pirtad.worker.sr.measurements import compose_measurements
from pirtad.worker.sr.narrative import compose_narrative
from pirtad.worker.sr.source import SourceStudy

Compose = Callable[..., Dataset]
FINDING = Finding(Territory.ANTERIOR, SignalClass.MILD, InfarctType.SMALL_LACUNE)
ABSTAINED: dict[str, Any] = {
    "basis": Basis.ABSTENTION,
    "findings": NO_RELIABLE_DRAFT,
    "impression": NO_RELIABLE_DRAFT,
    "abstained_because": ("The similar cases support no one territory (2 normal, 3 posterior circulation).",),
}
NORMAL: dict[str, Any] = {"territory": Territory.NORMAL, "findings": reading(Finding(Territory.NORMAL))}


def region(code: str, side: str, share: float, volume_ml: float = 40.0) -> RegionShare:
    return RegionShare(code, code, side, share, share * volume_ml)


LESION = LesionMeasurement(
    volume_ml=40.0,
    side="left",
    foci=3,
    mean_adc_mm2_per_s=0.00052346,
    mirrored_adc_mm2_per_s=0.00081,
    adc_ratio=0.6463,
    territories=(region("MCAF", "left", 0.5), region("LLS", "left", 0.28), region("PCAO", "right", 0.02)),
    classes={Territory.ANTERIOR: 0.625, Territory.DEEP_GRAY_MATTER: 0.35, Territory.POSTERIOR: 0.025},
    unassigned_share=0.2,
    without_restriction=2,
)


@pytest.fixture
def compose(
    report: Callable[..., Report], study: Callable[..., SourceStudy], identity: Callable[..., SrIdentity]
) -> Compose:
    def make(source: SourceStudy | None = None, **changes: object) -> Dataset:
        about = {"findings": reading(FINDING), **changes}
        document = compose_measurements(
            report(**about), source or study(), identity=identity(role="measurements", instance_number=2)
        )
        return dcmread(BytesIO(serialise(document)))

    return make


def groups(document: Dataset) -> list[Any]:
    """The measurement groups, as highdicom reads them."""
    (root,) = MeasurementReport.from_sequence([document])
    assert root.ContentSequence[-1].name == Code("126010", "DCM", "Imaging Measurements")
    return list(MeasurementReport.from_sequence([document]).get_image_measurement_groups())


def numbers(group: Any) -> dict[str, tuple[float, str]]:
    return {one.name.meaning: (one.value, one.unit.value) for one in group.get_measurements()}


def evaluations(group: Any) -> list[tuple[str, str]]:
    own = (
        item for item in group[0].ContentSequence if item.ValueType == "CODE" and item.RelationshipType == "CONTAINS"
    )
    apart = {codes.FINDING.value, "276214006"}
    return [(item.name.value, item.value.value) for item in own if item.name.value not in apart]


def site(group: Any) -> tuple[str, str | None]:
    (only,) = group.finding_sites
    return only.value.meaning, None if only.laterality is None else only.laterality.meaning


VARIANTS: dict[str, dict[str, Any]] = {
    "lesion": {"lesion": LESION},
    "side not known": {"lesion": LesionMeasurement(1.5, None, 1, 0.0005)},
    "both sides": {"lesion": LesionMeasurement(1.5, "bilateral", 2, 0.0005)},
    "not measured": {},
    "normal": {**NORMAL, "lesion": no_lesion()},
    "normal, bright foci": {**NORMAL, "lesion": no_lesion(3)},
    "normal, not measured": NORMAL,
    "abstention": ABSTAINED,
    "abstention, measured": {**ABSTAINED, "lesion": LESION},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_validators_find_no_error(
    compose: Compose, tmp_path: Path, dcmtk: Callable[[str], str], changes: dict[str, Any]
) -> None:
    path = tmp_path / "sr.dcm"
    compose(**changes).save_as(path)
    validators = [p for p in (None, Path("/usr/bin/dciodvfy")) if p is None or p.exists()]
    assert [dciodvfy_errors(path, validator) for validator in validators] == [[] for _ in validators]
    printed = subprocess.run([dcmtk("dsrdump"), "+Pl", path], capture_output=True, check=True, text=True, timeout=30)
    assert not printed.stderr
    contained = [line.strip() for line in printed.stdout.splitlines() if "<contains TEXT" in line]
    assert contained[0] == f'<contains TEXT:(,,"Comment")="{DRAFT_MARK}">'
    assert printed.stdout.count('"Measurement Group"') == len(groups(compose(**changes)))


def test_a_lesion_is_measured_as_a_whole_and_located_by_territory_and_side(compose: Compose) -> None:
    whole, anterior, deep = groups(compose(lesion=LESION))
    assert numbers(whole) == {
        "Volume": (40.0, "ml"),
        "Number of lesions": (3, "1"),
        "Apparent Diffusion Coefficient": (0.0005235, "mm2/s"),
        "Mean ADC of the mirrored tissue": (0.00081, "mm2/s"),
        "Ratio of mean ADC, lesion to mirrored tissue": (0.646, "{ratio}"),
        "Bright DWI foci without reduced ADC": (2, "1"),
    }
    assert whole.finding_type == codes.RESTRICTED_DIFFUSION
    assert site(whole) == ("Brain", "Left")
    # What the similar cases have is under names that say so
    assert evaluations(whole) == [
        ("RID43349", codes.PRESENT.value),
        ("VOTED_TERRITORY", "ANTERIOR"),
        ("VOTED_SIGNAL", "SIGNAL_MILD"),
        ("VOTED_TYPE", "TYPE_LACUNE"),
        ("ACUITY_BASIS", "130596"),
    ]
    # A part has its own volume, and nothing that was measured of the whole
    assert numbers(anterior) == {"Volume": (20.0, "ml"), "Share of the measured lesion": (50.0, "%")}
    assert numbers(deep) == {"Volume": (11.2, "ml"), "Share of the measured lesion": (28.0, "%")}
    assert [site(part) for part in (anterior, deep)] == [("Brain", "Left"), ("Brain", "Left")]
    assert evaluations(anterior)[1:3] == [("TERRITORY", "ANTERIOR"), ("SUPPLIED_BY", "17232002")]
    assert evaluations(deep)[1:3] == [("TERRITORY", "DEEP_GRAY_MATTER"), ("SUPPLIED_BY", "REGION_LLS")]


def test_sides_are_told_apart() -> None:
    # Given infarcts of both sides in one class, and a class whose two sides have less than a tenth each
    both = replace(
        LESION,
        territories=(
            region("MCAF", "right", 0.4), region("ACA", "right", 0.03), region("MCAF", "left", 0.42),
            region("PCAO", "right", 0.08), region("B", "left", 0.07),
        ),
    )  # fmt: skip
    found = [(part.territory, part.side, round(part.share, 2), part.regions) for part in parts(both)]
    # Then each side has its own group, and of the last class the larger side has one
    assert found == [
        (Territory.ANTERIOR, "right", 0.43, ("MCAF",)),
        (Territory.ANTERIOR, "left", 0.42, ("MCAF",)),
        (Territory.POSTERIOR, "right", 0.08, ("PCAO",)),
    ]


def test_a_side_that_is_not_known_is_not_said(compose: Compose) -> None:
    (whole,) = groups(compose(**VARIANTS["side not known"]))
    assert site(whole) == ("Brain", None)
    (whole,) = groups(compose(**VARIANTS["both sides"]))
    assert site(whole) == ("Brain", "Bilateral")


def test_without_a_measurement_no_acuity_and_no_number(compose: Compose) -> None:
    (whole,) = groups(compose())
    assert numbers(whole) == {}
    assert "ACUITY_BASIS" not in dict(evaluations(whole))
    assert site(whole) == ("Brain", None)


def test_a_pattern_is_said_only_when_the_findings_say_it(compose: Compose) -> None:
    (whole,) = groups(compose(findings="Something else."))
    assert not {"VOTED_SIGNAL", "VOTED_TYPE"} & set(dict(evaluations(whole)))


@pytest.mark.parametrize("name", ["normal", "normal, bright foci", "normal, not measured"])
def test_a_negative_study_says_absent_and_has_no_finding(compose: Compose, name: str) -> None:
    document = compose(**VARIANTS[name])
    (group,) = groups(document)
    assert evaluations(group) == [("RID43349", codes.ABSENT.value)]
    assert group.finding_type is None
    assert group.finding_category is None
    assert document.CompletionFlag == "COMPLETE"
    foci = {"Bright DWI foci without reduced ADC": (3, "1")} if name == "normal, bright foci" else {}
    assert numbers(group) == foci


@pytest.mark.parametrize("lesion", [None, no_lesion(), LESION])
def test_an_abstention_asserts_nothing(compose: Compose, lesion: LesionMeasurement | None) -> None:
    document = compose(**ABSTAINED, lesion=lesion)
    (group,) = groups(document)
    assert (document.CompletionFlag, document.CompletionFlagDescription) == ("PARTIAL", NO_RELIABLE_DRAFT)
    assert group.finding_type is None
    assert group.finding_sites == []
    said = dict(evaluations(group))
    assert said.pop("RID43349") == codes.UNDETERMINED.value
    # What was measured is there, and it is said that nothing was concluded from it
    assert said == ({"CONCLUSION": "NOT_CONCLUDED"} if lesion is LESION else {})
    assert numbers(group).get("Volume") == ((40.0, "ml") if lesion is LESION else None)
    comments = [item.TextValue for item in document.ContentSequence if item.ValueType == "TEXT"]
    assert ABSTAINED["abstained_because"][0] in comments


@pytest.mark.parametrize("changes", [{"lesion": no_lesion()}, {**NORMAL, "lesion": LESION}])
def test_a_draft_that_contradicts_its_measurement_is_not_sent(compose: Compose, changes: dict[str, Any]) -> None:
    with pytest.raises(NonConformant, match="measured lesion of"):
        compose(**changes)


def test_the_algorithm_is_told_with_what_reproduces_it(compose: Compose, report: Callable[..., Report]) -> None:
    def parameters(document: Dataset) -> list[str]:
        items = groups(document)[0][0].ContentSequence
        return [item.TextValue for item in items if item.name.value == "111002"]

    provenance = report().provenance
    told = parameters(compose(lesion=LESION))
    assert f"image encoder sha256: {provenance.encoder_sha256}" in told
    assert f"case base sha256: {provenance.case_base_sha256}" in told
    assert "similar cases weighed (k): 2" in told
    assert "similar case 1: c-0412, cosine similarity 0.9712" in told
    assert f"prompt sha256: {provenance.prompt_sha256}" in told
    silent = parameters(compose(provenance=replace(provenance, language_model="")))
    assert not [line for line in silent if "language model" in line and not line.startswith("statement")]


def test_header_evidence_and_series_are_the_narratives(
    compose: Compose, report: Callable[..., Report], study: Callable[..., SourceStudy], identity: Callable[..., Any]
) -> None:
    source = study(
        TimezoneOffsetFromUTC="+0900", PatientName="Yamada^Tarou=山田^太郎", SpecificCharacterSet="ISO_IR 192"
    )
    narrative = dcmread(BytesIO(serialise(compose_narrative(report(), source, identity=identity()))))
    document = compose(source)
    own = {"SOPClassUID", "SOPInstanceUID", "InstanceNumber", "ConceptNameCodeSequence", "ContentSequence"}
    own |= {"ContentTemplateSequence", "ContinuityOfContent"}
    for element in narrative:
        if element.keyword not in own:
            assert document[element.keyword].value == element.value, element.keyword
    assert document.SOPInstanceUID != narrative.SOPInstanceUID
    assert (narrative.InstanceNumber, document.InstanceNumber) == (1, 2)
    assert str(document.PatientName) == "Yamada^Tarou=山田^太郎"


def library(document: Dataset) -> list[tuple[list[str], list[str]]]:
    """(what its images were used as, their UIDs) of each group of the image library."""
    (container,) = (i for i in document.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "111028")
    return [
        (
            [i.ConceptCodeSequence[0].CodeMeaning for i in group.ContentSequence if _named(i) == "IMAGE_ROLE"],
            [
                i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
                for i in group.ContentSequence
                if i.ValueType == "IMAGE"
            ],
        )
        for group in container.ContentSequence
    ]


def _named(item: ContentItem) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def test_the_image_library_holds_every_used_image_once(
    compose: Compose, study: Callable[..., SourceStudy], image: Callable[..., Dataset]
) -> None:
    dwi, adc = codes.DIFFUSION_WEIGHTED.meaning, codes.ADC.meaning
    source = study()
    uids = {kind: [str(i.SOPInstanceUID) for i in images] for kind, images in ((dwi, source.dwi), (adc, source.adc))}
    document = compose(source)
    assert library(document) == [([dwi], uids[dwi]), ([adc], uids[adc])]
    evidence = {uid for *_, uid in references(document.CurrentRequestedProcedureEvidenceSequence)}
    assert evidence == {*uids[dwi], *uids[adc]}
    (group, *_) = groups(document)
    assert {i.referenced_sop_instance_uid for i in group.source_images} == evidence
    # A computed map is not among what was received
    images = [image(4, 1), image(4, 2)]
    computed = compose(SourceStudy(images, images, adc_is_computed=True))
    assert library(computed) == [([dwi], [str(i.SOPInstanceUID) for i in images])]
    # and a multi-frame object, which tells no rows and spacing on its top level, may hold both
    multi_frame = image(6, 1, NumberOfFrames=52, FrameOfReferenceUID="1.2.3")
    assert library(compose(SourceStudy([multi_frame], [multi_frame]))) == [([dwi, adc], [multi_frame.SOPInstanceUID])]


def test_the_same_arguments_give_the_same_bytes(
    report: Callable[..., Report], study: Callable[..., SourceStudy], identity: Callable[..., SrIdentity]
) -> None:
    made = {
        serialise(compose_measurements(report(lesion=LESION), study(), identity=identity(role="measurements")))
        for _ in range(2)
    }
    assert len(made) == 1


def test_tracking_identifiers_are_distinct_and_stay(compose: Compose) -> None:
    first, again = ([(g.tracking_identifier, g.tracking_uid) for g in groups(compose(lesion=LESION))] for _ in range(2))
    assert first == again
    assert len({uid for _, uid in first}) == 3
    assert [name for name, _ in first] == [
        "Lesion",
        "Lesion, anterior circulation, left",
        "Lesion, deep gray matter, left",
    ]


def test_every_side_has_a_code() -> None:
    assert set(territory_codes.LATERALITY) == {"left", "right", "bilateral"}
