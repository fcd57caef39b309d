"""Why the pixels of an instance must not be used, whatever they show."""

from __future__ import annotations

from functools import lru_cache

from pydicom import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from pirtad.inference.dicom.frames import Problem
from pirtad.inference.dicom.plain import plain_text, plain_whole
from pirtad.inference.dicom.reading.part10 import MR_IMAGES

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture Image Storage; its four multi-frame kin have this as their root (PS3.4 table B.5-1)."""
_INSTALLED_BY = {
    "gdcm": "python-gdcm",
    "pyjpegls": "pyjpegls",
    "pylibjpeg": "pylibjpeg-openjpeg",
}
"""Decoder plug-in of pydicom to the package that brings it; the others pydicom knows are not asked for."""


def problem_of(header: Dataset, transfer_syntax_uid: str) -> Problem | None:
    """The first thing that speaks against an instance, or None.

    Codes: "secondary_capture", "unsupported_sop_class", "burned_in", "not_grey", "unsupported_transfer_syntax".
    """
    sop_class = plain_text(header, "SOPClassUID")
    captured = sop_class == SECONDARY_CAPTURE or sop_class.startswith(SECONDARY_CAPTURE + ".")
    if captured or plain_text(header, "ConversionType"):
        return Problem("secondary_capture", "a secondary capture: a picture of an image, without its values")
    if sop_class not in MR_IMAGES:
        return Problem("unsupported_sop_class", f"no MR image but {_name(sop_class)}")
    if plain_text(header, "BurnedInAnnotation").upper() == "YES":
        return Problem("burned_in", "annotations are burned into its pixels (BurnedInAnnotation YES)")
    grey = plain_text(header, "PhotometricInterpretation")
    if plain_whole(header, "SamplesPerPixel") != 1 or grey != "MONOCHROME2":
        return Problem("not_grey", f"its pixels are not plain grey values ({_known(grey)})")
    return undecodable(transfer_syntax_uid)


@lru_cache(maxsize=128)
def undecodable(transfer_syntax_uid: str) -> Problem | None:
    """What is missing to decode a transfer syntax, and the package to install where one would help."""
    try:
        decoder = get_decoder(transfer_syntax_uid)
    except NotImplementedError:
        return Problem(
            "unsupported_transfer_syntax",
            f"transfer syntax {_name(transfer_syntax_uid)} cannot be decoded by any plug-in",
        )
    if decoder.is_available:
        return None
    # Each entry begins with the plug-in's name: "gdcm - requires gdcm>=3.0.10".
    missing = [entry.split(" ", 1)[0] for entry in decoder.missing_dependencies]
    packages = [_INSTALLED_BY[plugin] for plugin in missing if plugin in _INSTALLED_BY]
    advice = f"install {' or '.join(packages)}" if packages else "; ".join(decoder.missing_dependencies)
    return Problem("unsupported_transfer_syntax", f"no decoder for {_name(transfer_syntax_uid)}: {advice}")


def _name(uid: str) -> str:
    """Name and UID; what is no UID is not repeated, for it could hold anything."""
    if not UID(uid).is_valid:
        return "without a valid UID"
    name = UID(uid).name
    return uid if name == uid else f"{name} ({uid})"


def _known(photometric: str) -> str:
    """The value if it is one of the standard's; free text could hold anything."""
    standard = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"}
    return (
        f"PhotometricInterpretation {photometric}" if photometric in standard else "PhotometricInterpretation unknown"
    )
