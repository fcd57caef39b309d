"""The table behind `pirtad inspect`: every series, what it was taken for, and why it was or was not chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pirtad.inference.dicom.attributes import whole
from pirtad.inference.dicom.candidates import Candidate, Rejection
from pirtad.inference.dicom.geometry import stack_of
from pirtad.inference.dicom.headers import Series
from pirtad.inference.errors import StudyNotUsable

if TYPE_CHECKING:
    from pirtad.inference.dicom.pairing import Pair


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the whole study is not usable; becomes a StudyNotUsable."""

    code: str
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series. shape is (columns, rows, images); spacing_mm is None where its images make no even stack."""

    series_uid: str
    description: str = field(repr=False)
    modality: str
    sop_class_uid: str
    kind: str
    b_values: tuple[float, ...]
    n_images: int
    shape: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    chosen_as: tuple[str, ...]
    rejected_code: str | None
    rejected_because: str | None


@dataclass(frozen=True, slots=True)
class ChosenRow:
    """What would be assembled: the images actually used of a chosen series. b_value in s/mm2, None for the ADC map."""

    series_uid: str
    description: str = field(repr=False)
    b_value: float | None
    n_images: int
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Inspection:
    """A study as the selection saw it."""

    dwi: ChosenRow | None
    adc: ChosenRow | None
    series: tuple[SeriesRow, ...]
    refused: Refusal | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: {"chosen": {"dwi", "adc"}, "series": [...], "refused": {"code", "reason", "hint"} | None}."""
        return {
            "chosen": {
                "dwi": asdict(self.dwi) if self.dwi else None,
                "adc": asdict(self.adc) if self.adc else None,
            },
            "series": [asdict(row) for row in self.series],
            "refused": asdict(self.refused) if self.refused else None,
        }


def inspected(
    series: Sequence[Series],
    pair: Pair | None,
    rejections: Sequence[Rejection | None],
    refusal: Refusal | None,
) -> Inspection:
    """Lay a decision out as a table; `rejections` goes along with `series`."""
    rows = tuple(_row(one, pair, why) for one, why in zip(series, rejections, strict=True))
    return Inspection(_chosen(pair.dwi) if pair else None, _chosen(pair.adc) if pair else None, rows, refusal)


def _row(series: Series, pair: Pair | None, why: Rejection | None) -> SeriesRow:
    roles = {"dwi": pair.dwi, "adc": pair.adc} if pair and why is None else {}
    shape, spacing = _extent(series)
    return SeriesRow(
        series_uid=series.series_uid,
        description=series.description,
        modality=series.modality,
        sop_class_uid=series.sop_class_uid,
        kind=str(series.kind),
        b_values=series.b_values_s_per_mm2,
        n_images=len(series.instances),
        shape=shape,
        spacing_mm=spacing,
        chosen_as=tuple(role for role, taken in roles.items() if _is_from(taken, series)),
        rejected_code=why.code if why else None,
        rejected_because=why.reason if why else None,
    )


def _is_from(candidate: Candidate, series: Series) -> bool:
    return candidate.series.instances[0] in series.instances


def _extent(series: Series) -> tuple[tuple[int, int, int] | None, tuple[float, float, float] | None]:
    header = series.instances[0].header
    rows, columns = whole(header, "Rows"), whole(header, "Columns")
    shape = (columns, rows, len(series.instances)) if rows and columns else None
    try:
        return shape, stack_of([instance.header for instance in series.instances]).spacing_mm
    except StudyNotUsable:
        return shape, None


def _chosen(candidate: Candidate) -> ChosenRow:
    return ChosenRow(
        series_uid=candidate.series.series_uid,
        description=candidate.series.description,
        b_value=candidate.b_value_s_per_mm2,
        n_images=len(candidate.series.instances),
        shape=candidate.stack.shape,
        spacing_mm=candidate.stack.spacing_mm,
    )
