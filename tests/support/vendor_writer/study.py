"""A whole study: what is to be written, what it is written as, and the truth about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from support.vendor_writer.anatomy import Anatomy
from support.vendor_writer.files import write_all
from support.vendor_writer.headers import Identity, patient_and_study
from support.vendor_writer.moments import Clock, acquired, derived
from support.vendor_writer.packing import Scene, SeriesPlan, classic, enhanced, grid, mosaic
from support.vendor_writer.raster import Raster, raster
from support.vendor_writer.shots import Role, Shot, raw_shots, repeated, trace_shots
from support.vendor_writer.stored import Encoding, Stated, map_encoding, signal_encoding
from support.vendor_writer.vendors import CANON, GE, PHILIPS, SIEMENS, UIH, Vendor, private


class Packing(StrEnum):
    """Who wrote the study, and how planes are packed."""

    PHILIPS = "philips"
    SIEMENS = "siemens"
    GE = "ge"
    UIH = "uih"
    CANON = "canon"
    SIEMENS_MOSAIC = "siemens mosaic"
    UIH_GRID = "uih grid"
    ENHANCED = "enhanced"


_PACKERS: dict[Packing, tuple[Vendor, Callable[[Scene, SeriesPlan], list[Dataset]]]] = {
    Packing.PHILIPS: (PHILIPS, classic),
    Packing.SIEMENS: (SIEMENS, classic),
    Packing.GE: (GE, classic),
    Packing.UIH: (UIH, classic),
    Packing.CANON: (CANON, classic),
    Packing.SIEMENS_MOSAIC: (SIEMENS, mosaic),
    Packing.UIH_GRID: (UIH, grid),
    Packing.ENHANCED: (PHILIPS, enhanced),
}

TRACE_SERIES, MAP_SERIES, RAW_SERIES = 300, 301, 200


@dataclass(frozen=True)
class StudyPlan:
    """Everything about a study that may vary and is true.

    raw: single directions and b0 are in the study. derived: the scanner's own trace and ADC map are.
    with_b0: the trace series holds the b0 too. crowded: other makers' private blocks come first, so that the vendors'
    lie at other element numbers. repeats: how often all but the map was acquired. clock: how volumes are numbered and
    timed. undeclared: no header of a single direction says along which, nor that it is one. one_object: trace and map
    of Enhanced studies lie in one instance, which needs the same sign of both. seed: of the order of instances, frames
    and files.
    """

    packing: Packing = Packing.PHILIPS
    raw: bool = False
    derived: bool = True
    where: Raster = field(default_factory=raster)
    b_values: tuple[float, ...] = (1000.0,)
    directions: int = 3
    with_b0: bool = True
    signal: Encoding = field(default_factory=signal_encoding)
    map: Encoding = field(default_factory=lambda: map_encoding(1e-6, Stated.NOWHERE))
    repeats: int = 1
    clock: Clock = Clock.SHARED
    undeclared: bool = False
    one_object: bool = False
    crowded: bool = False
    syntax: UID = ExplicitVRLittleEndian
    seed: int = 0


@dataclass(eq=False)
class Study:
    """Instances and the truth. `series`: role of a series ("raw", "trace", "map", or a distractor's name) to its
    instances, in the writer's order (volume by volume, slice by slice)."""

    plan: StudyPlan
    identity: Identity
    anatomy: Anatomy
    series: dict[str, list[Dataset]]

    @property
    def series_maker(self) -> str:
        """The manufacturer that all series name."""
        return _PACKERS[self.plan.packing][0].manufacturer

    def instances(self) -> list[Dataset]:
        """All instances in a random order that the plan's seed decides."""
        listed = [dataset for series in self.series.values() for dataset in series]
        order = np.random.default_rng(self.plan.seed + 1).permutation(len(listed))
        return [listed[n] for n in order]

    def write(self, directory: Path) -> list[Path]:
        """The study as files."""
        return write_all(self.instances(), directory, self.plan.syntax)


def build(plan: StudyPlan, identity: Identity | None = None, anatomy: Anatomy | None = None) -> Study:
    """The series of the plan, without distractors and undamaged."""
    identity, anatomy = identity or Identity(), anatomy or Anatomy()
    base = patient_and_study(identity)
    if plan.crowded:
        for group in (0x0019, 0x0029, 0x0043, 0x0065, 0x2001, 0x2005):
            private(base, group, "ANOTHER MAKER", {0x01: ("LO", "first come")})
    vendor, pack = _PACKERS[plan.packing]
    scene = Scene(base, identity, vendor, anatomy, plan.where, np.random.default_rng(plan.seed))
    series: dict[str, list[Dataset]] = {}
    taken = raw_shots(plan.b_values, plan.directions)
    if plan.raw:
        told = [replace(shot, undeclared=plan.undeclared and shot.role is Role.DIRECTION) for shot in taken]
        shots = acquired(repeated(told, plan.repeats), plan.clock)
        series["raw"] = pack(scene, SeriesPlan(RAW_SERIES, "DWI raw", shots, plan.signal, plan.map))
    if plan.derived:
        shots = derived(
            repeated(trace_shots(plan.b_values, with_b0=plan.with_b0), plan.repeats), plan.clock, len(taken)
        )
        maps = derived((Shot(Role.ADC),), plan.clock, len(taken))
        # A name that speaks of the true b value; of several, protocols name none.
        name = vendor.weighted_name.format(f"B{plan.b_values[0]:.0f}" if len(plan.b_values) == 1 else "DWI")
        together = plan.one_object and plan.packing is Packing.ENHANCED
        if together:
            shots += maps
        series["trace"] = pack(scene, SeriesPlan(TRACE_SERIES, name, shots, plan.signal, plan.map))
        if not together:
            series["map"] = pack(scene, SeriesPlan(MAP_SERIES, vendor.map_name, maps, plan.signal, plan.map))
    return Study(plan, identity, anatomy, series)


def points_of(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the voxels of an assembled volume lie: (I, J, K, 3) in LPS."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    points: NDArray[np.float64] = index @ affine[:3, :3].T + affine[:3, 3]
    return points
