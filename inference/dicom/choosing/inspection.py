"""The table behind `pirtad inspect`: every series, what it was taken for, and why it was or was not chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pirtad.inference.dicom.choosing.layers import layers_of
from pirtad.inference.dicom.frames import Plane, Series
from pirtad.inference.errors import StudyNotUsable

if TYPE_CHECKING:
    from pirtad.inference.dicom.choosing.candidates import Candidate, Rejection
    from pirtad.inference.dicom.choosing.pairing import Pair


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the whole study is not usable; becomes a StudyNotUsable."""

    code: str
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series.

    shape is (columns, rows, slices), None for planes of several sizes; spacing_mm is None where its slices make no
    even stack. because: the header attributes that told the kinds. n_images counts planes, n_files files.
    """

    series_uid: str
    series_number: float
    description: str = field(repr=False)
    modality: str
    sop_class_uid: str
    layout: str
    kind: str
    kinds: tuple[str, ...]
    because: tuple[str, ...]
    b_values: tuple[float, ...]
    n_files: int
    n_images: int
    shape: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    chosen_as: tuple[str, ...]
    rejected_code: str | None
    rejected_because: str | None


@dataclass(frozen=True, slots=True)
class ChosenRow:
    """What would be assembled: the images actually used of a chosen series.

    b_value: in s/mm2; None for an ADC map that the scanner made. b_values: all that a computed volume is made from.
    unit: of the assembled volume. affine: (i, j, k, 1) to mm, LPS, row by row.
    """

    series_uid: str
    description: str = field(repr=False)
    kind: str
    b_value: float | None
    b_values: tuple[float, ...]
    computed: bool
    how: str
    n_images: int
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    unit: str
    affine: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """A study as the selection saw it. score: the chosen pair's terms; remarks: what the report will say of it."""

    dwi: ChosenRow | None
    adc: ChosenRow | None
    series: tuple[SeriesRow, ...]
    refused: Refusal | None
    score: tuple[tuple[str, float], ...] = ()
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: {"chosen": {"dwi", "adc", "score", "remarks"}, "series": [...], "refused": {...} | None}."""
        return {
            "chosen": {
                "dwi": asdict(self.dwi) if self.dwi else None,
                "adc": asdict(self.adc) if self.adc else None,
                "score": {name: round(value, 2) for name, value in self.score},
                "remarks": list(self.remarks),
            },
            "series": [asdict(row) for row in self.series],
            "refused": asdict(self.refused) if self.refused else None,
        }


def inspected(
    series: Sequence[Series],
    pair: Pair | None,
    rejections: Sequence[Rejection | None],
    refusal: Refusal | None,
    remarks: tuple[str, ...] = (),
) -> Inspection:
    """Lay a decision out as a table; `rejections` goes along with `series`."""
    rows = tuple(_row(one, pair, why) for one, why in zip(series, rejections, strict=True))
    if pair is None:
        return Inspection(None, None, rows, refusal)
    return Inspection(
        _chosen(pair.dwi, "dwi", "arbitrary"),
        _chosen(pair.adc, "adc", "mm2/s"),
        rows,
        refusal,
        pair.score.terms,
        remarks,
    )


def _row(series: Series, pair: Pair | None, why: Rejection | None) -> SeriesRow:
    roles = {"dwi": pair.dwi, "adc": pair.adc} if pair and why is None else {}
    shape, spacing = _extent(series)
    diffusions = [frame.diffusion for frame in series.frames]
    return SeriesRow(
        series_uid=series.series_uid,
        series_number=series.instances[0].series_number,
        description=series.description,
        modality=series.modality,
        sop_class_uid=series.sop_class_uid,
        layout=" and ".join(sorted({str(instance.layout) for instance in series.instances})),
        kind=str(series.kind),
        kinds=tuple(sorted({str(one.kind) for one in diffusions})),
        because=tuple(sorted({one.because for one in diffusions if one.because})),
        b_values=series.b_values_s_per_mm2,
        n_files=len(series.instances),
        n_images=len(series.frames),
        shape=shape,
        spacing_mm=spacing,
        chosen_as=tuple(role for role, taken in roles.items() if taken.series is series),
        rejected_code=why.code if why else None,
        rejected_because=why.reason if why else None,
    )


def _extent(series: Series) -> tuple[tuple[int, int, int] | None, tuple[float, float, float] | None]:
    """Size and spacing of the series' one stack, of however many images a slice."""
    try:
        stack = layers_of(series.frames).stack
    except StudyNotUsable:
        sizes = {frame.plane.size for frame in series.frames if isinstance(frame.plane, Plane)}
        if len(sizes) != 1:
            return None, None
        rows, columns = sizes.pop()
        return (columns, rows, len(series.frames)), None
    return stack.shape, stack.spacing_mm


def _chosen(candidate: Candidate, kind: str, unit: str) -> ChosenRow:
    stack = candidate.stack
    stated = (frame.diffusion.b_value_s_per_mm2 for frame in candidate.frames)
    return ChosenRow(
        series_uid=candidate.series.series_uid,
        description=candidate.series.description,
        kind=kind,
        b_value=candidate.b_value_s_per_mm2,
        b_values=tuple(sorted({b for b in stated if b is not None})),
        computed=candidate.computed,
        how=candidate.how,
        n_images=len(candidate.frames),
        shape=stack.shape,
        spacing_mm=stack.spacing_mm,
        unit=unit,
        affine=tuple(tuple(float(value) for value in row) for row in stack.affine),
    )
