"""A real acute stroke (SOOP sub-3, OpenNeuro ds004889, CC0) as the clinical DICOM study it was converted from."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pirtad.inference.simulation.dicom_writer import SeriesHeader, StudyHeader, write_series
from pirtad.inference.volume import Volume
from support.shared import shared_data

STUDY = StudyHeader(
    study_uid="2.25.196253498754028773120356411286337165210",
    patient_id="SOOP-3",
    patient_name="SOOP^Three",
    sex="M",
    age="061Y",
    description="MRI BRAIN WITHOUT CONTRAST",
    manufacturer="Philips Medical Systems",
    model="Achieva",
)
_TRACE_TYPE = ("ORIGINAL", "PRIMARY", "M", "SE", "M", "SE")
_ADC_TYPE = ("ORIGINAL", "PRIMARY", "ADC", "ADC", "UNSPECIFIED")


def soop_sub3_nifti(name: str) -> nibabel.Nifti1Image:
    """`name` is TRACE (arbitrary units) or ADC (1e-6 mm2/s); 256x256x26x1, RAS."""
    return nibabel.load(shared_data(f"nifti/soop_sub-3/sub-3_rec-{name}_dwi.nii.gz"))


def soop_sub3_volume(name: str) -> Volume:
    """The same image as a scanner would order it: LPS, rows downwards, right-handed; (256, 256, 26), NIfTI's values."""
    image = soop_sub3_nifti(name)
    values = np.asarray(image.dataobj)[..., 0]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    # dcm2niix turns the rows of an axial image upside down; turned back, j runs to posterior again.
    rows = values.shape[1]
    turned = affine.copy()
    turned[:3, 1] = -affine[:3, 1]
    turned[:3, 3] = affine[:3, 3] + affine[:3, 1] * (rows - 1)
    return Volume(np.ascontiguousarray(values[:, ::-1, :], dtype=np.float32), turned)


def write_soop_sub3(directory: Path, implicit: bool = False) -> list[Path]:
    """Write 'sB1000' and 'dADC', 26 images each, as its Philips scanner would; skips where the data is absent."""
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    # The NIfTI's own 16 bit scaling, so that no value is rounded a second time.
    scaling = soop_sub3_nifti("ADC").dataobj
    trace = SeriesHeader("trace", 301, "sB1000", _TRACE_TYPE, 1000.0, 1.0, 0.0, 3688.93, 94.113)
    adc = SeriesHeader(
        "adc", 302, "dADC", _ADC_TYPE, None, scaling.slope, scaling.inter - 32768 * scaling.slope, 3688.93, 94.113
    )
    return [
        *write_series(directory, soop_sub3_volume("TRACE"), STUDY, trace, syntax),
        *write_series(directory, soop_sub3_volume("ADC"), STUDY, adc, syntax),
    ]
