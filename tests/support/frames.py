"""Frames made by hand, for tests of what is decided from headers alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pirtad.inference.dicom.frames import Frame, Instance, Plane, Problem, Series
from pirtad.inference.dicom.identity import PatientIdentity
from pirtad.inference.dicom.kinds import Diffusion, Kind

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
AXIAL = np.array([[1.0, 0, 0], [0, 1, 0]])
CORONAL = np.array([[1.0, 0, 0], [0, 0, -1]])
PATIENT = PatientIdentity("ID-1", "", "19600229", "doe jane", "", "")


def stack(
    kind: Kind = Kind.TRACE,
    b: float | None = 1000.0,
    *,
    series: str = "1.2.1",
    slices: int = 12,
    gap_mm: float = 6.0,
    origin_mm: float = 0.0,
    cosines: np.ndarray = AXIAL,
    direction: tuple[float, float, float] | None = None,
    moment: str = "",
    acquisition: str = "",
    temporal_position: int | None = None,
    name: str = "",
    problem: Problem | None = None,
    frame_of_reference_uid: str = "1.9",
) -> list[Frame]:
    """Classic single-frame slices of 24 x 20 voxels of 8 x 8 mm, from foot to head."""
    normal = np.cross(*cosines)
    frames = []
    for k in range(slices):
        uid = (
            f"{series}.{abs(hash((str(kind), b, direction, moment, acquisition, temporal_position, name))) % 10**9}.{k}"
        )
        instance = Instance(
            path=Path(f"{uid}.dcm"),
            study_uid="1.2",
            series_uid=series,
            sop_instance_uid=uid,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            modality="MR",
            identity=PATIENT,
            description=name,
            series_number=1.0,
            body_part="BRAIN",
            manufacturer="Maker",
            problem=problem,
        )
        plane = Plane((20, 24), (8.0, 8.0), cosines, normal * (origin_mm + k * gap_mm), frame_of_reference_uid)
        diffusion = Diffusion(kind, b, direction, "by hand")
        frames.append(
            Frame(
                instance,
                0,
                None,
                diffusion,
                plane,
                temporal_position=temporal_position,
                moment=moment,
                acquisition=acquisition,
            )
        )
    return frames


def series_of(*groups: list[Frame], uid: str = "1.2.1", name: str = "series", modality: str = "MR") -> Series:
    """One series of all these frames."""
    frames = [
        replace(frame, instance=replace(frame.instance, series_uid=uid, description=name, modality=modality))
        for group in groups
        for frame in group
    ]
    lead = frames[0].instance
    return Series(
        lead.study_uid,
        uid,
        modality,
        lead.sop_class_uid,
        name,
        tuple(frame.instance for frame in frames),
        tuple(frames),
    )


def directions(
    b: float = 1000.0, axes: tuple[tuple[float, float, float], ...] = (X, Y, Z), **extra: object
) -> list[Frame]:
    """A stack for each gradient direction."""
    return [frame for axis in axes for frame in stack(Kind.DIRECTION, b, direction=axis, **extra)]  # type: ignore[arg-type]
