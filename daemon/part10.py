"""The start of a DICOM file that holds a dataset as it was received (PS3.10 section 7.1), with a record of its receipt.

The record makes the file speak for itself: once it is on disk the image is received, whatever becomes of this process,
and the next start registers it from the file alone. It stands in Private Information (0002,0102), which PS3.10 table
7.1-1 gives for such use.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pirtad.daemon.elements import Encoding, Malformed, walk

# UUID-derived (PS3.5 section B.2), drawn once for this project.
IMPLEMENTATION_CLASS_UID = "2.25.169663843748881850793025401197634642676"
# No version in it: the same instance gives the same file, whichever release received it.
IMPLEMENTATION_VERSION_NAME = "PIRTAD"

_PREAMBLE = b"\0" * 128 + b"DICM"
_GROUP_LENGTH_BYTES = 12
_AE_TITLE_BYTES = 16  # PS3.5 table 6.2-1; always padded to it, so that a file's size does not depend on its sender
_RECORD = struct.Struct("<8sQd32s")  # mark and version, bytes of the dataset, POSIX seconds, content sha256
_MARK = b"PIRTAD\x00\x01"
# The longest start: three UIDs of 64 characters and what is fixed.
MAX_START_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the file says of its own receipt."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str
    dataset_bytes: int
    received_at: float  # POSIX seconds
    content_sha256: bytes  # 32 bytes; over what, see `pirtad.daemon.spool`


def part10_start(receipt: Receipt) -> bytes:
    """Preamble, prefix and file meta information; the dataset's bytes follow as they are.

    The UIDs must be valid (PS3.5 section 9.1). Its length depends on the three UIDs alone.
    """
    meta = b"".join(
        (
            _long(0x0001, b"\x00\x01"),
            _short(0x0002, b"UI", receipt.sop_class_uid),
            _short(0x0003, b"UI", receipt.sop_instance_uid),
            _short(0x0010, b"UI", receipt.transfer_syntax_uid),
            _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _short(0x0016, b"AE", receipt.calling_ae.ljust(_AE_TITLE_BYTES)),  # Source Application Entity Title
            _short(0x0100, b"UI", IMPLEMENTATION_CLASS_UID),  # Private Information Creator UID
            _long(0x0102, _record(receipt)),
        )
    )
    return _PREAMBLE + struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(meta)) + meta


def completed_start(start: bytes, receipt: Receipt) -> bytes:
    """The same as `part10_start(receipt)`, from the start of a receipt that differs in what the record holds alone."""
    return start[: -_RECORD.size] + _record(receipt)


def _record(receipt: Receipt) -> bytes:
    return _RECORD.pack(_MARK, receipt.dataset_bytes, receipt.received_at, receipt.content_sha256)


def read_start(head: bytes) -> tuple[Receipt, int] | None:
    """(receipt, position of the dataset) from a file's first `MAX_START_BYTES`; None if it was never completed."""
    if head[: len(_PREAMBLE)] != _PREAMBLE or len(head) < len(_PREAMBLE) + _GROUP_LENGTH_BYTES:
        return None
    begin = len(_PREAMBLE) + _GROUP_LENGTH_BYTES
    (length,) = struct.unpack_from("<I", head, begin - 4)
    meta = head[begin : begin + length]
    try:
        elements = {tag & 0xFFFF: meta[start:end] for tag, start, end in walk(meta, Encoding(True, True))}
        mark, dataset_bytes, received_at, sha256 = _RECORD.unpack(elements[0x0102])
    except (Malformed, KeyError, struct.error):
        return None
    if mark != _MARK or len(meta) != length:
        return None
    receipt = Receipt(
        sop_class_uid=_text(elements, 0x0002),
        sop_instance_uid=_text(elements, 0x0003),
        transfer_syntax_uid=_text(elements, 0x0010),
        calling_ae=_text(elements, 0x0016),
        dataset_bytes=dataset_bytes,
        received_at=received_at,
        content_sha256=sha256,
    )
    return receipt, begin + length


def _text(elements: dict[int, bytes], element: int) -> str:
    return elements.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")


def _short(element: int, vr: bytes, text: str) -> bytes:
    """An element of group 0002, explicit VR little endian, padded to even length (PS3.5 sections 6.2 and 9.1)."""
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value


def _long(element: int, value: bytes) -> bytes:
    """An OB element of group 0002; the value is of even length."""
    return struct.pack("<HH2sHI", 0x0002, element, b"OB", 0, len(value)) + value
