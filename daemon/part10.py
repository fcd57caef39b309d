"""The start of a DICOM file that holds a dataset as it was received (PS3.10 section 7.1)."""

from __future__ import annotations

import struct

# UUID-derived (PS3.5 section B.2), drawn once for this project.
IMPLEMENTATION_CLASS_UID = "2.25.169663843748881850793025401197634642676"
# No version in it: the same instance gives the same file, whichever release received it.
IMPLEMENTATION_VERSION_NAME = "PIRTAD"


def part10_start(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble, prefix and file meta information; the dataset's bytes follow as they are.

    The UIDs must be valid (PS3.5 section 9.1). Nothing of the association is in it: who sent a file is in the ledger.
    """
    meta = b"".join(
        (
            struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, 2) + b"\x00\x01",
            _short(0x0002, b"UI", sop_class_uid),
            _short(0x0003, b"UI", sop_instance_uid),
            _short(0x0010, b"UI", transfer_syntax_uid),
            _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
        )
    )
    group_length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(meta))
    return b"\0" * 128 + b"DICM" + group_length + meta


def _short(element: int, vr: bytes, text: str) -> bytes:
    """An element of group 0002, explicit VR little endian, padded to even length (PS3.5 sections 6.2 and 9.1)."""
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value
