"""Canon and Toshiba: standard attributes, a comment in version 6.0, and silence on b 0 images.

Source: github.com/rordenlab/dcm2niix/tree/master/Canon. DiffusionBValue (0018,9087) is written for weighted images
only; version 6.0 adds ImageComments (0020,4000) 'b=1500(0.445,0.000,0.895)', with the direction within the image.
Private group 700D holds XML on a site's request; nothing of diffusion in it is documented, so it is not read.
"""

from __future__ import annotations

import re

from pirtad.inference.dicom.meaning.vendors.private import Stated, plausible_b, vector

MANUFACTURERS = ("TOSHIBA", "CANON")

_NUMBER = r"\s*([+-]?\d{1,6}(?:\.\d{1,12})?)\s*"
_COMMENT = re.compile(rf"^\s*b={_NUMBER}(?:\({_NUMBER},{_NUMBER},{_NUMBER}\))?", re.IGNORECASE)


def read_comment(comment: str) -> Stated:
    """What ImageComments says."""
    found = _COMMENT.match(comment)
    if found is None:
        return Stated()
    b_value = plausible_b((float(found.group(1)),))
    parts = tuple(float(part) for part in found.groups()[1:] if part is not None)
    return Stated(
        b_value_s_per_mm2=b_value,
        b_source="Canon ImageComments",
        direction=vector(parts),
        diffusion=b_value is not None or None,
        diffusion_source="Canon ImageComments",
    )
