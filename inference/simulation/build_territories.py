"""Derive territories.nii.gz from the JHU arterial atlas; see territories.md for source, licence and the command.

Run as `python -m pirtad.inference.simulation.build_territories ATLAS.nii.gz OUT.nii.gz`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np

ANTERIOR, DEEP_GRAY_MATTER, POSTERIOR = 1, 2, 3

# Level 1 of the atlas, in the order of its regions file; odd labels are left, even right.
CLASS_OF_REGION = {
    "ACA": ANTERIOR,
    "MLS": DEEP_GRAY_MATTER,  # medial lenticulostriate
    "LLS": DEEP_GRAY_MATTER,  # lateral lenticulostriate
    "MCAF": ANTERIOR,
    "MCAP": ANTERIOR,
    "MCAT": ANTERIOR,
    "MCAO": ANTERIOR,
    "MCAI": ANTERIOR,
    "PCAT": POSTERIOR,
    "PCAO": POSTERIOR,
    "PCTP": DEEP_GRAY_MATTER,  # posterior choroidal and thalamoperforating
    "ACTP": DEEP_GRAY_MATTER,  # anterior choroidal and thalamoperforating
    "B": POSTERIOR,
    "SC": POSTERIOR,  # superior cerebellar
    "IC": POSTERIOR,  # inferior cerebellar
}


def build(atlas: Path, out: Path) -> None:
    """Write the class map (uint8, the atlas's own grid) to `out`. Raises ValueError for another atlas or level."""
    source = nib.load(atlas)
    regions = np.rint(np.asarray(source.dataobj)).astype(np.int64)
    if regions.max() != 2 * len(CLASS_OF_REGION):
        raise ValueError(f"expected {2 * len(CLASS_OF_REGION)} regions in {atlas.name}, found {regions.max()}")
    table = np.zeros(regions.max() + 1, dtype=np.uint8)
    for position, label in enumerate(CLASS_OF_REGION.values()):
        table[[2 * position + 1, 2 * position + 2]] = label
    image = nib.Nifti1Image(table[regions], source.affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, out)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    build(arguments.atlas, arguments.out)


if __name__ == "__main__":
    main()
