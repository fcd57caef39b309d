"""Left is left: marks on known sides of a head, followed from every vendor's files to the grid that the encoder sees.

The volumes are compared with the head itself wherever their voxels lie, so that a flipped, swapped, shifted or scaled
axis shows, and an image taken for another one as well.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import UID
from support.vendor_writer.anatomy import FLUID, LEFT, MARKS, Anatomy
from support.vendor_writer.files import SYNTAXES
from support.vendor_writer.raster import Plane, Position, raster
from support.vendor_writer.stored import Stated, map_encoding, signal_encoding
from support.vendor_writer.study import Packing, StudyPlan, build, points_of
from support.vendor_writer.truth import assert_pair_shows

from pirtad.inference.dicom.choosing.rules import DEFAULT_RULES
from pirtad.inference.dicom.choosing.select import choose_pair
from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.dicom.volumes.assemble import assemble_pair
from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.volume import DiffusionPair, Volume

HEAD = Anatomy()
PLACES = tuple(itertools.product(Plane, Position))
TILED = (Packing.SIEMENS_MOSAIC, Packing.UIH_GRID, Packing.ENHANCED)


def cases() -> list[tuple[Packing, bool, Plane, Position]]:
    """Every packing in every place; classic images, whose place is read the same way for all vendors, in all places
    for one vendor and in a sixth of them for each of the others."""
    found = []
    for packing, raw in itertools.product(Packing, (False, True)):
        everywhere = packing in TILED or (packing is Packing.PHILIPS and not raw)
        first = (list(Packing).index(packing) + 2 * raw) % 6
        found += [(packing, raw, *place) for place in (PLACES if everywhere else PLACES[first::6])]
    return found


def assembled(paths: list[Path]) -> DiffusionPair:
    return assemble_pair(choose_pair(read_series(paths), DEFAULT_RULES))


def assert_marks_in_place(adc: Volume, within_mm: tuple[float, float, float]) -> None:
    """The centre of all voxels with a mark's diffusivity lies where the mark is, to a voxel along every axis."""
    points = points_of(adc.array.shape, adc.affine)
    for mark in MARKS.values():
        # Ramps bring tissue no nearer to a mark's diffusivity than 0.25e-3.
        centre = points[np.abs(adc.array - mark.adc_mm2_per_s) < 0.05e-3].mean(axis=0)
        assert np.all(np.abs(centre - mark.centre_mm) < within_mm)


@pytest.mark.parametrize(("packing", "raw", "plane", "position"), cases())
def test_marks_stay_on_their_side(tmp_path: Path, packing: Packing, raw: bool, plane: Plane, position: Position):
    # Given a head in a scanner; every second one scanned from the other end, signed, or among others' private blocks
    turn = PLACES.index((plane, position)) + list(Packing).index(packing)
    where = raster(plane, position, gap_mm=13.0, reverse=bool(turn % 2))
    plan = StudyPlan(
        packing,
        raw=raw,
        derived=not raw,
        where=where,
        signal=signal_encoding(slope=1.25 if turn % 3 else 1.0, signed=bool(turn // 2 % 2), uneven=not turn % 2),
        map=map_encoding(1e-6, Stated.MAPPING if turn % 3 else Stated.NOWHERE, uneven=not turn % 2),
        directions=6 if packing is Packing.ENHANCED else 3,
        crowded=bool(turn % 2),
        seed=turn,
    )

    # When the pair is chosen and assembled
    pair = assembled(build(plan).write(tmp_path))

    # Then every voxel shows what is there, and the marks lie where they are in the patient
    assert_pair_shows(pair, HEAD, plan.b_values)
    size = max(*where.spacing_mm, where.gap_mm)
    assert_marks_in_place(pair.adc_mm2_per_s, (size, size, size))
    shape = sorted((*where.size, where.slices))
    assert sorted(pair.dwi.array.shape) == shape
    assert sorted(pair.adc_mm2_per_s.array.shape) == shape


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("packing", Packing)
def test_transfer_syntaxes_change_nothing(tmp_path: Path, packing: Packing, syntax: UID):
    plan = StudyPlan(packing, signal=signal_encoding(signed=True), crowded=True, syntax=syntax)
    assert_pair_shows(assembled(build(plan).write(tmp_path)), HEAD, plan.b_values)


@pytest.mark.parametrize("seed", range(4))
def test_trace_and_map_in_one_enhanced_object(tmp_path: Path, seed: int):
    plan = StudyPlan(Packing.ENHANCED, b_values=(500.0, 1000.0), one_object=True, seed=seed)
    paths = build(plan).write(tmp_path)
    assert len(paths) == 1
    assert_pair_shows(assembled(paths), HEAD, plan.b_values)


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("stated", Stated)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("packing", [Packing.SIEMENS_MOSAIC, Packing.ENHANCED])
def test_maps_come_out_in_mm2_per_s(tmp_path: Path, packing: Packing, unit: float, stated: Stated, signed: bool):
    plan = StudyPlan(packing, map=map_encoding(unit, stated, signed=signed))
    assert_pair_shows(assembled(build(plan).write(tmp_path)), HEAD, plan.b_values)


@pytest.mark.parametrize(
    ("packing", "raw", "plane", "position"),
    [
        (Packing.PHILIPS, False, Plane.AXIAL, Position.HFP),
        (Packing.SIEMENS_MOSAIC, True, Plane.OBLIQUE, Position.FFS),
        (Packing.UIH_GRID, True, Plane.SAGITTAL, Position.HFS),
        (Packing.ENHANCED, False, Plane.CORONAL, Position.HFDL),
        (Packing.GE, True, Plane.AXIAL, Position.FFP),
        (Packing.CANON, False, Plane.OBLIQUE, Position.HFDR),
    ],
)
def test_the_encoder_sees_left_on_the_left(
    tmp_path: Path, packing: Packing, raw: bool, plane: Plane, position: Position
):
    # Given a finer scan of the head
    where = raster(plane, position, size=(48, 48), spacing_mm=(4.0, 4.0), slices=30, gap_mm=5.0, reverse=raw)
    plan = StudyPlan(packing, raw=raw, derived=not raw, where=where)

    # When it is brought to the network's grid
    seen = preprocess(assembled(build(plan).write(tmp_path)))

    # Then axis 0 runs to the left, 1 to posterior, 2 to superior, and the marks lie there
    dwi, adc = seen.array
    middle = np.array(adc.shape) // 2
    head_centre = index_of(seen.affine, (0.0, 0.0, 0.0))
    assert np.all(np.abs(head_centre - middle) < 3)
    for mark in MARKS.values():
        index = index_of(seen.affine, mark.centre_mm)
        # 1e-3 mm2/s; the mark is wide enough for its middle to be its own after interpolation
        assert adc[tuple(index)] == pytest.approx(mark.adc_mm2_per_s * 1e3, abs=0.08)
    left = index_of(seen.affine, LEFT.centre_mm)
    mirrored = index_of(seen.affine, (-LEFT.centre_mm[0], *LEFT.centre_mm[1:]))
    assert left[0] > middle[0] > mirrored[0]
    assert index_of(seen.affine, MARKS["anterior"].centre_mm)[1] < middle[1]
    assert index_of(seen.affine, MARKS["superior"].centre_mm)[2] > middle[2]
    assert dwi[tuple(left)] > 1.3 * dwi[tuple(mirrored)]
    assert adc[tuple(mirrored)] > 0.7
    assert adc[tuple(index_of(seen.affine, FLUID.centre_mm))] > 2.5
    # Dark alone is the rim of the brain too, where it was interpolated with nothing.
    restricted = np.argwhere((adc < 0.55) & (dwi > 1.2)).mean(axis=0)
    assert np.all(np.abs(restricted - left) < 2)


def index_of(affine: np.ndarray, point_mm: tuple[float, ...]) -> np.ndarray:
    """The nearest voxel of a grid to a point in LPS."""
    return np.rint(np.linalg.solve(affine, [*point_mm, 1.0])[:3]).astype(int)
