"""Derive regions.nii.gz and template.nii.gz; see atlas.md for sources, licences and the command.

Run as `python -m pirtad.inference.lesion.build_atlas ATLAS.nii.gz OUT_DIRECTORY`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template

from pirtad.inference.lesion.atlas import REGIONS, TEMPLATE_STEP_MM2_PER_S

# Diffusivity of the three tissues in mm2/s, the middle of what the simulator draws from: free water at 37 degrees
# (Mills 1973), cortex and white matter (Helenius et al., AJNR 23, 2002).
FLUID_MM2_PER_S, GRAY_MM2_PER_S, WHITE_MM2_PER_S = 3.0e-3, 0.85e-3, 0.75e-3


def build_regions(atlas: Path, out: Path) -> None:
    """Write the atlas's labels as uint8. Raises ValueError for another atlas or level."""
    source = nib.load(atlas)
    regions = np.rint(np.asarray(source.dataobj)).astype(np.int64)
    if regions.max() != 2 * len(REGIONS):
        raise ValueError(f"expected {2 * len(REGIONS)} regions in {atlas.name}, found {regions.max()}")
    _save(regions.astype(np.uint8), source.affine, out)


def build_template(out: Path) -> None:
    """Write the mean ADC map that the tissue maps add up to, uint8 in steps of TEMPLATE_STEP_MM2_PER_S, 0 outside."""
    gray_image = load_mni152_gm_template(resolution=2)
    brain = load_mni152_brain_mask(resolution=2).get_fdata() > 0.5
    gray = gray_image.get_fdata().clip(0, 1)
    white = load_mni152_wm_template(resolution=2).get_fdata().clip(0, 1)
    crowded = np.maximum(gray + white, 1.0)
    gray, white = gray / crowded, white / crowded
    adc = FLUID_MM2_PER_S * (1 - gray - white) + GRAY_MM2_PER_S * gray + WHITE_MM2_PER_S * white
    steps = np.rint(adc / TEMPLATE_STEP_MM2_PER_S).astype(np.uint8)
    _save(np.where(brain, steps, np.uint8(0)), gray_image.affine, out)


def _save(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], affine: object, out: Path) -> None:
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, out)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    build_regions(arguments.atlas, arguments.out / "regions.nii.gz")
    build_template(arguments.out / "template.nii.gz")


if __name__ == "__main__":
    main()
