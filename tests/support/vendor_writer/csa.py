"""Siemens' CSA image header, format SV10, as the open readers (nibabel, dcm2niix) describe it: little endian whatever
the file's byte order; a signature, the number of tags, and for every tag a 64-byte name, value multiplicity, VR, syngo
data type, six items, each with four integers of which the second is its length, padded to four bytes."""

from __future__ import annotations

import struct

_ITEMS = 6
_CHECK = 77
_SYNGO_TYPES = {"FD": 4, "IS": 6, "US": 10, "CS": 16, "SH": 22}


def csa_header(tags: dict[str, tuple[str, list[str]]]) -> bytes:
    """Bytes of (0029,1010); tags: name to (VR, values as text)."""
    parts = [b"SV10\x04\x03\x02\x01", struct.pack("<2I", len(tags), _CHECK)]
    for name, (vr, values) in tags.items():
        head = (name.encode("ascii"), len(values), vr.encode("ascii"), _SYNGO_TYPES[vr], _ITEMS, _CHECK)
        parts.append(struct.pack("<64si4siii", *head))
        for index in range(_ITEMS):
            text = (values[index].encode("ascii") + b"\0") if index < len(values) else b""
            parts.append(struct.pack("<4i", len(text), len(text), _CHECK, len(text)))
            parts.append(text + b"\0" * (-len(text) % 4))
    return b"".join(parts)


def diffusion_tags(
    b_value: float | None, direction: tuple[float, float, float] | None, normal: tuple[float, float, float]
) -> dict[str, tuple[str, list[str]]]:
    """The tags that say how an image is weighted and where its slices go."""
    tags: dict[str, tuple[str, list[str]]] = {"SliceNormalVector": ("FD", [f"{n:.8f}" for n in normal])}
    if b_value is not None:
        tags["B_value"] = ("IS", [f"{b_value:.0f}"])
        tags["DiffusionDirectionality"] = ("CS", ["DIRECTIONAL" if direction else "NONE"])
    if direction:
        tags["DiffusionGradientDirection"] = ("FD", [f"{n:.8f}" for n in direction])
    return tags
