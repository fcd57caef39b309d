"""Which part of the head was imaged, and which part of that the network saw: measured on the patient's own images."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.lesion.atlas import load_template
from pirtad.inference.lesion.coverage import SEEN_FROM, Coverage, Covered, Part
from pirtad.inference.lesion.cut_head import imaged_voxels, sections_cm2, within
from pirtad.inference.lesion.lookup import nearest, transformed
from pirtad.inference.lesion.registration import Registration
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.volume import DiffusionPair, Volume

LOWER_POSTERIOR_FOSSA_BELOW_MM, VERTEX_ABOVE_MM = -45.0, 60.0  # z of MNI
# Without a registration: a brain whose section at the end of the images is as wide as this ends further on. The
# template's sections below z = -55 mm and above 74 mm are smaller than 36 cm2, and the template is larger than a head.
CUT_THROUGH_FROM_CM2 = 40.0
# With one: from which section on the brain counts as cut off, whatever the template says. The medulla alone has 3 to 4
# cm2, and a vertex that lacks 3 mm has 15. A real head whose cerebellum just touches the lowest slice (looked at, its
# template share 0.96) has 23.
CUT_OFF_FROM_CM2 = 15.0
# Share of a part within the images that the brain mask keeps: 0.74 to 0.9 on real heads, since its rim is lost. The
# network is blind outside the mask.
_LEAST_KEPT = 0.5


def measure_coverage(
    patient: NetworkInput, pair: DiffusionPair, registration: Registration, *, adc_is_computed: bool
) -> Coverage:
    """The coverage of `pair`, from which `patient` was made and registered."""
    along = int(np.argmax(np.abs(pair.dwi.affine[2, :3]) / pair.dwi.spacing_mm))
    imaged, assessed = None, None
    if registration.ok:
        within_images, within_grid = _inside(_everywhere(), patient, pair, registration)
        imaged, assessed = float(within_images.mean()), float(within_grid.mean())
    *_, foot_cm2, top_cm2 = sections_cm2(patient.mask, imaged_voxels(pair, patient.affine), patient.affine)
    return Coverage(
        b_value_s_per_mm2=pair.b_value_s_per_mm2,
        adc_is_computed=adc_is_computed,
        slices=pair.dwi.array.shape[2],
        head_foot_mm=pair.dwi.array.shape[along] * pair.dwi.spacing_mm[along],
        imaged=imaged,
        assessed=assessed,
        lower_posterior_fossa=_part(_lower_posterior_fossa(), foot_cm2, patient, pair, registration),
        vertex=_part(_vertex(), top_cm2, patient, pair, registration),
    )


def _part(
    points_mm: NDArray[np.float64],
    section_cm2: float,
    patient: NetworkInput,
    pair: DiffusionPair,
    registration: Registration,
) -> Part:
    """points_mm: (N, 3) of the template, evenly through the part. section_cm2: of the brain at the images' end on the
    side of this part."""
    if not registration.ok:
        return Part(Covered.NOT_WHOLLY if section_cm2 >= CUT_THROUGH_FROM_CM2 else Covered.NOT_KNOWN)
    imaged, in_grid = _inside(points_mm, patient, pair, registration)
    here = transformed(points_mm[in_grid], np.asarray(np.linalg.inv(registration.to_template)))
    kept = float(nearest(patient.mask, patient.affine, here).sum()) / max(1, int(imaged.sum()))
    is_cut = section_cm2 >= CUT_OFF_FROM_CM2
    is_seen = float(in_grid.mean()) >= SEEN_FROM and kept >= _LEAST_KEPT and not is_cut
    return Part(Covered.SEEN if is_seen else Covered.NOT_WHOLLY, float(imaged.mean()), float(in_grid.mean()), is_cut)


def _inside(
    points_mm: NDArray[np.float64], patient: NetworkInput, pair: DiffusionPair, registration: Registration
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """bool (N,) each, for points (N, 3) of the template: within DWI and ADC map, and within the network's grid too."""
    here = transformed(points_mm, np.asarray(np.linalg.inv(registration.to_template)))
    imaged = within(here, pair.dwi) & within(here, pair.adc_mm2_per_s)
    return imaged, imaged & within(here, Volume(patient.array[0], patient.affine))


@lru_cache(maxsize=1)
def _brain() -> NDArray[np.float64]:
    template = load_template()
    return transformed(np.argwhere(template.array > 0), template.affine)


@lru_cache(maxsize=1)
def _everywhere() -> NDArray[np.float64]:
    """Every eighth voxel of the template's brain; enough for a percentage."""
    return np.ascontiguousarray(_brain()[::8])


@lru_cache(maxsize=1)
def _lower_posterior_fossa() -> NDArray[np.float64]:
    return _brain()[_brain()[:, 2] < LOWER_POSTERIOR_FOSSA_BELOW_MM]


@lru_cache(maxsize=1)
def _vertex() -> NDArray[np.float64]:
    return _brain()[_brain()[:, 2] >= VERTEX_ABOVE_MM]
