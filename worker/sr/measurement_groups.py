"""The measurement groups of a result (PS3.16 TID 1501): what a machine may take from it, and on what ground.

A draft with a lesion   the lesion as a whole, then a group for each territory and side that holds a tenth of it
A draft without         one group: restricted diffusion absent
An abstention           one group: presence undetermined, and the numbers, if any, marked as not concluded from

Only the first kind has a Finding item, so that who reads findings alone never takes the others for positive. What was
measured on this patient's images and what the similar cases have are under names that say which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom.sr.coding import Code

from pirtad.inference.findings import Finding, Territory
from pirtad.inference.lesion.atlas import TERRITORY_OF_REGION
from pirtad.inference.lesion.measurement import LesionMeasurement, RegionShare
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE
from pirtad.inference.report.report import Report
from pirtad.inference.report.wording import LEAST_SHARE_NAMED, reading
from pirtad.worker.errors import NonConformant
from pirtad.worker.sr import codes, territory_codes
from pirtad.worker.sr.algorithm import algorithm
from pirtad.worker.sr.identity import SrIdentity, derive_uid
from pirtad.worker.sr.source import SourceStudy

_FINDING_AS_WRITTEN = {reading(finding): finding for finding in FINDING_OF_SENTENCE.values()}

Evaluations = list[tuple[Code, Code]]


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a lesion in one territory class on one side. share: of the whole lesion, 0 to 1.

    regions: the atlas's, largest first, each with a tenth of the part or more.
    """

    territory: Territory
    side: str
    volume_ml: float
    share: float
    regions: tuple[str, ...]


def measurement_groups(
    report: Report, source: SourceStudy, identity: SrIdentity
) -> list[MeasurementsAndQualitativeEvaluations]:
    """Every group of the result, never empty; sizes in ml, ADC in mm2/s.

    Raises `NonConformant` for a draft whose territory and measured lesion contradict each other: they would be sent as
    absent with a volume, or as present with none.
    """
    make = _Maker(algorithm(report, source), _source_images(source), identity)
    lesion = report.lesion
    if report.is_draft and lesion is not None and (lesion.volume_ml > 0) is (report.territory is Territory.NORMAL):
        raise NonConformant(
            "result-contradicts-itself",
            f"a draft of territory {report.territory} with a measured lesion of {lesion.volume_ml:.1f} ml",
            "report this as a defect",
        )
    measured = [] if lesion is None else _of_lesion(lesion)
    if not report.is_draft:
        evaluations = [(codes.RESTRICTED_DIFFUSION, codes.UNDETERMINED)]
        if measured:
            evaluations.append((codes.CONCLUSION, codes.NOT_CONCLUDED))
        return [make.group("Not concluded", None, evaluations, measured)]
    if report.territory is Territory.NORMAL:
        evaluations = [(codes.RESTRICTED_DIFFUSION, codes.ABSENT)]
        return [make.group("Study", None, evaluations, measured, site=FindingSite(codes.BRAIN))]
    side = None if lesion is None else lesion.side
    whole = [(codes.RESTRICTED_DIFFUSION, codes.PRESENT), *_voted(report), *_acuity(lesion)]
    groups = [make.group("Lesion", codes.RESTRICTED_DIFFUSION, whole, measured, site=_site(side))]
    for part in () if lesion is None else parts(lesion):
        name = f"Lesion, {part.territory.phrase}, {part.side}"
        numbers = [
            Measurement(codes.VOLUME, round(part.volume_ml, 2), codes.MILLILITRE),
            Measurement(codes.SHARE_OF_LESION, round(100 * part.share, 1), codes.PERCENT),
        ]
        groups.append(
            make.group(name, codes.RESTRICTED_DIFFUSION, _located(part, lesion), numbers, site=_site(part.side))
        )
    return groups


def parts(lesion: LesionMeasurement) -> list[Part]:
    """The lesion by territory class and side, largest first: those with a tenth of it, and of a class that has a tenth
    in all, its larger side; none where the head could not be brought onto the atlas."""
    regions = lesion.territories or ()

    def place(region: RegionShare) -> tuple[str, str]:
        return TERRITORY_OF_REGION[region.code], region.side

    found = [
        _part(Territory(territory), side, list(members))
        for (territory, side), members in groupby(sorted(regions, key=place), key=place)
    ]
    found.sort(key=lambda part: (-part.share, part.territory, part.side))
    kept: list[Part] = []
    for part in found:
        of_class = sum(other.share for other in found if other.territory is part.territory)
        is_larger = all(other.territory is not part.territory for other in kept)
        if part.share >= LEAST_SHARE_NAMED or (of_class >= LEAST_SHARE_NAMED and is_larger):
            kept.append(part)
    return kept


def _part(territory: Territory, side: str, members: Sequence[RegionShare]) -> Part:
    share = sum(region.share for region in members)
    named = [region.code for region in members if region.share >= LEAST_SHARE_NAMED * share]
    by_code = {region.code: region.share for region in members}
    return Part(
        territory=territory,
        side=side,
        volume_ml=sum(region.ml for region in members),
        share=share,
        regions=tuple(sorted(named, key=lambda code: (-by_code[code], code))),
    )


def _of_lesion(lesion: LesionMeasurement) -> list[Measurement]:
    """What was measured of the lesion as a whole; of none, nothing but that there were other bright foci."""
    numbers = []
    if lesion.volume_ml > 0:
        numbers.append(Measurement(codes.VOLUME, round(lesion.volume_ml, 2), codes.MILLILITRE))
    if lesion.foci is not None:
        numbers.append(Measurement(codes.NUMBER_OF_LESIONS, lesion.foci, codes.COUNT))
    if lesion.mean_adc_mm2_per_s is not None:
        numbers.append(_adc(codes.ADC, lesion.mean_adc_mm2_per_s))
    if lesion.mirrored_adc_mm2_per_s is not None:
        numbers.append(_adc(codes.OPPOSITE_ADC, lesion.mirrored_adc_mm2_per_s))
    if lesion.adc_ratio is not None:
        numbers.append(Measurement(codes.ADC_RATIO, round(lesion.adc_ratio, 3), codes.RATIO))
    if lesion.without_restriction:
        numbers.append(Measurement(codes.FOCI_WITHOUT_REDUCED_ADC, lesion.without_restriction, codes.COUNT))
    return numbers


def _adc(name: Code, value_mm2_per_s: float) -> Measurement:
    # Seven decimals: a tenth of the 10^-6 mm2/s that maps are stored in.
    return Measurement(name, round(value_mm2_per_s, 7), codes.SQUARE_MM_PER_S, derivation=codes.MEAN)


def _voted(report: Report) -> Evaluations:
    """What the similar cases have: their territory, and signal and pattern as the findings' sentence has them."""
    said: Evaluations = [(territory_codes.VOTED_TERRITORY, territory_codes.TERRITORY[report.territory])]
    finding: Finding | None = _FINDING_AS_WRITTEN.get(report.findings)
    if finding is not None and finding.signal_class is not None and finding.infarct_type is not None:
        said.append((territory_codes.VOTED_SIGNAL, territory_codes.SIGNAL[finding.signal_class]))
        said.append((territory_codes.VOTED_TYPE, territory_codes.INFARCT_TYPE[finding.infarct_type]))
    return said


def _acuity(lesion: LesionMeasurement | None) -> Evaluations:
    # Only foci whose ADC is reduced are in the volume.
    return [(codes.ACUITY_BASIS, codes.ADC_HYPOINTENSE)] if lesion is not None and lesion.volume_ml > 0 else []


def _located(part: Part, lesion: LesionMeasurement | None) -> Evaluations:
    arteries = dict.fromkeys(territory_codes.arterial_region(code) for code in part.regions)
    return [
        (codes.RESTRICTED_DIFFUSION, codes.PRESENT),
        (territory_codes.MEASURED_TERRITORY, territory_codes.TERRITORY[part.territory]),
        *((territory_codes.SUPPLIED_BY, artery) for artery in arteries),
        *_acuity(lesion),
    ]


def _site(side: str | None) -> FindingSite:
    """The brain, with its side where that is known."""
    return FindingSite(codes.BRAIN, laterality=None if side is None else territory_codes.LATERALITY[side])


def _source_images(source: SourceStudy) -> list[SourceImageForMeasurementGroup]:
    used = {str(image.SOPInstanceUID): str(image.SOPClassUID) for image in source.images()}
    return [SourceImageForMeasurementGroup(sop_class, uid) for uid, sop_class in used.items()]


@dataclass(frozen=True, slots=True)
class _Maker:
    """What the groups of one document share."""

    algorithm: AlgorithmIdentification
    source_images: Sequence[SourceImageForMeasurementGroup]
    identity: SrIdentity

    def group(
        self, name: str, finding: Code | None, evaluations: Evaluations, measurements: Sequence[Measurement],
        *, site: FindingSite | None = None,
    ) -> MeasurementsAndQualitativeEvaluations:  # fmt: skip
        made: MeasurementsAndQualitativeEvaluations = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(
                uid=derive_uid("tracking", self.identity.sop_instance_uid, name), identifier=name
            ),
            finding_category=None if finding is None else codes.ABNORMAL_STRUCTURE,
            finding_type=finding,
            algorithm_id=self.algorithm,
            finding_sites=None if site is None else [site],
            measurements=measurements,
            qualitative_evaluations=[QualitativeEvaluation(concept, value) for concept, value in evaluations],
            source_images=self.source_images,
        )
        return made
