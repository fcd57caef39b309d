"""What registration has to know of a received dataset, and nothing else; pixel data is never looked at."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from pirtad.daemon.elements import Encoding, Malformed, walk
from pirtad.daemon.errors import CANNOT_UNDERSTAND, DOES_NOT_MATCH_SOP_CLASS, Refused

# PS3.5 annex A: these three differ from explicit VR little endian, which every other transfer syntax uses.
_IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_MODALITY = 0x00080060
_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E

# Below it: command sets, file meta, directories, and groups nobody may use (PS3.5 sections 7.1 and 7.8.1). Behind our
# own file meta an element of group 0002 would be read as a part of it: another transfer syntax, or another instance.
_FIRST_GROUP = 0x0008

# PS3.5 section 9.1: components without leading zeros, 64 characters at most.
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_UID_MAX = 64
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")  # PS3.5 table 6.2-1, VR CS
# Chosen: far more than any header up to the series UID, and a bound on what a deflated dataset can blow up to.
_MAX_INFLATED_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Header:
    """Identity of an instance; every UID is valid by PS3.5 section 9.1. `modality` is "" where it is absent."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str


def read_header(encoded: bytes, transfer_syntax_uid: str) -> Header:
    """The header of an encoded dataset (no preamble, no file meta); `Refused` (0xC000) if it can't be understood.

    Decodes up to Series Instance UID (0020,000E) and stops there.
    """
    values = {}
    try:
        data = _inflated(encoded) if transfer_syntax_uid == _DEFLATED else encoded
        encoding = _encoding(transfer_syntax_uid)
        _require_dataset_groups(data, encoding)
        for tag, start, end in walk(data, encoding):
            if tag > _SERIES_INSTANCE_UID:
                break
            if tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID, _MODALITY, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID):
                values[tag] = data[start:end]
            if tag == _SERIES_INSTANCE_UID:
                break
    except Malformed as error:
        raise Refused(CANNOT_UNDERSTAND, f"not a dataset in the negotiated transfer syntax: {error}") from error
    except zlib.error as error:
        raise Refused(CANNOT_UNDERSTAND, "not a deflated dataset") from error
    return Header(
        study_uid=_uid(values, _STUDY_INSTANCE_UID, "Study Instance UID"),
        series_uid=_uid(values, _SERIES_INSTANCE_UID, "Series Instance UID"),
        sop_instance_uid=_uid(values, _SOP_INSTANCE_UID, "SOP Instance UID"),
        sop_class_uid=_uid(values, _SOP_CLASS_UID, "SOP Class UID"),
        modality=_modality(values.get(_MODALITY, b"")),
    )


def require_same_instance(header: Header, affected_sop_class_uid: str, affected_sop_instance_uid: str) -> None:
    """`Refused` (0xA900) unless the dataset is the instance that the C-STORE command announced (PS3.7 9.1.1)."""
    if header.sop_class_uid != affected_sop_class_uid:
        raise Refused(DOES_NOT_MATCH_SOP_CLASS, "SOP Class UID differs between command and dataset")
    if header.sop_instance_uid != affected_sop_instance_uid:
        raise Refused(DOES_NOT_MATCH_SOP_CLASS, "SOP Instance UID differs between command and dataset")


def is_valid_uid(text: str) -> bool:
    """Whether the text is a UID by PS3.5 section 9.1."""
    return len(text) <= _UID_MAX and _UID.fullmatch(text) is not None


def _encoding(transfer_syntax_uid: str) -> Encoding:
    return Encoding(
        is_explicit_vr=transfer_syntax_uid != _IMPLICIT_VR_LITTLE_ENDIAN,
        is_little_endian=transfer_syntax_uid != _EXPLICIT_VR_BIG_ENDIAN,
    )


def _require_dataset_groups(data: bytes, encoding: Encoding) -> None:
    """`Malformed` if the first element is of a group that has no place in a dataset; those behind it are higher."""
    group = int.from_bytes(data[:2], "little" if encoding.is_little_endian else "big")
    if len(data) >= 2 and group < _FIRST_GROUP:
        raise Malformed(f"it begins with an element of group {group:04X}")


def _inflated(encoded: bytes) -> bytes:
    """The dataset's start, inflated (PS3.5 section A.5: a raw deflate stream, RFC 1951)."""
    return zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(encoded, _MAX_INFLATED_BYTES)


def _uid(values: dict[int, bytes], tag: int, name: str) -> str:
    # Padded with one NUL to even length (PS3.5 section 9.1); some senders pad with a space, as for other text.
    text = values.get(tag, b"").rstrip(b"\0 ").decode("ascii", errors="replace")
    if not text:
        raise Refused(CANNOT_UNDERSTAND, f"no {name}")
    if not is_valid_uid(text):
        raise Refused(CANNOT_UNDERSTAND, f"{name} is not a valid UID")
    return text


def _modality(raw: bytes) -> str:
    text = raw.decode("ascii", errors="replace").strip("\0 ")
    return text if _CODE_STRING.fullmatch(text) else ""
