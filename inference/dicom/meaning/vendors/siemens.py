"""Siemens: private elements since about 2005 (VB), the CSA image header before, and the sequence's name in all of them.

Elements as described by github.com/rordenlab/dcm2niix/tree/master/Siemens and found in headers of E11 and XA30:
    (0019,100C) IS  b value                 "SIEMENS MR HEADER"
    (0019,100D) CS  NONE, DIRECTIONAL, ISOTROPIC
    (0019,100E) FD  gradient direction, three numbers
    (0021,1177) LO  the sequence's name in XA, as SequenceName (0018,0024) before: "SIEMENS MR SDI 02"
    (0029,1010) OB  CSA image header: B_value, DiffusionDirectionality, DiffusionGradientDirection
"""

from __future__ import annotations

import re
import struct

from pirtad.inference.dicom.kinds import Kind
from pirtad.inference.dicom.meaning.vendors.csa import csa_numbers, csa_octets, csa_tags
from pirtad.inference.dicom.meaning.vendors.private import PrivateElements, Stated, plausible_b, vector

_HEADER, _SDI = "SIEMENS MR HEADER", "SIEMENS MR SDI 02"
ISOTROPIC_OF_DIRECTIONALITY = {"ISOTROPIC": True, "DIRECTIONAL": False, "BMATRIX": False}
"""(0018,9075), PS3.3 table C.8-96; Siemens' private element and CSA header use the same words."""

# '*ep_b1000t' trace, '*ep_b1000#3' third direction, 'ep_b0'. 'ep_b0_2500', on maps made from both, has no b of its own.
_SEQUENCE_B = re.compile(r"_b(\d{1,5})(t|#\d+)?$", re.IGNORECASE)
_CALCULATED = re.compile(r"calc", re.IGNORECASE)

_CSA_TAG = struct.Struct("<64si4sii")
"""The head of a tag in a CSA header: name, multiplicity, VR, its number, how many items follow."""


def sequence_name(name: str, source: str) -> Stated:
    """What a sequence's name in Siemens' style says; United Imaging's 'epi_dti_b1000#2' follows it too."""
    if "_b" not in name.lower():
        return Stated()
    found = _SEQUENCE_B.search(name)
    if found is None:
        return Stated()
    if _CALCULATED.search(name):
        return Stated(kind=Kind.CALCULATED_DWI, kind_source=f"{source} {name}")
    shape = (found.group(2) or "").lower()
    return Stated(
        nominal_b_s_per_mm2=plausible_b((float(found.group(1)),)),
        nominal_source=f"{source} {name}",
        isotropic=(shape == "t") if shape else None,
        shape_source=f"{source} {name}" if shape else "",
        diffusion=True,
        diffusion_source=f"{source} {name}",
    )


def read(private: PrivateElements) -> tuple[Stated, ...]:
    """What the private elements say, without the CSA header; the most telling first."""
    b_value = plausible_b(private.numbers(0x0019, _HEADER, 0x0C, "IS"))
    code = private.text(0x0019, _HEADER, 0x0D, "CS").upper()
    gradient = private.numbers(0x0019, _HEADER, 0x0E, "FD")
    stated = Stated(
        b_value_s_per_mm2=b_value,
        b_source="Siemens b value (0019,100C)",
        isotropic=ISOTROPIC_OF_DIRECTIONALITY.get(code),
        shape_source=f"Siemens (0019,100D) {code}",
        direction=vector(gradient),
        diffusion=True if code in {*ISOTROPIC_OF_DIRECTIONALITY, "NONE"} or b_value is not None else None,
        diffusion_source="Siemens diffusion elements (0019,100C), (0019,100D)",
    )
    return stated, sequence_name(private.text(0x0021, _SDI, 0x77), "Siemens sequence (0021,1177)")


def read_csa(private: PrivateElements) -> Stated:
    """What the CSA image header says; parsed only where its table of contents promises a b value."""
    octets = csa_octets(private)
    if not _holds_b_value(octets):
        return Stated()
    tags = csa_tags(octets)
    b_value = plausible_b(csa_numbers(tags, "B_value"))
    code = str((tags.get("DiffusionDirectionality") or [""])[0]).strip().upper()
    gradient = csa_numbers(tags, "DiffusionGradientDirection")
    return Stated(
        b_value_s_per_mm2=b_value,
        b_source="Siemens CSA header, B_value",
        isotropic=ISOTROPIC_OF_DIRECTIONALITY.get(code),
        shape_source=f"Siemens CSA header, DiffusionDirectionality {code}",
        direction=vector(gradient),
        diffusion=b_value is not None or None,
        diffusion_source="Siemens CSA header",
    )


def _holds_b_value(octets: bytes) -> bool:
    """Every image's CSA header lists B_value; only those of diffusion images have items under it."""
    start = octets.find(b"B_value\0")
    while start >= 0:
        if start + _CSA_TAG.size <= len(octets) and _CSA_TAG.unpack_from(octets, start)[4] > 0:
            return True
        start = octets.find(b"B_value\0", start + 1)
    return False
