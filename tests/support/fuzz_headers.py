"""Damaged datasets, and `read_header` against pydicom's own strict reading of them."""

from __future__ import annotations

import random
import time
import tracemalloc
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import config as pydicom_config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from pirtad.daemon.errors import CANNOT_UNDERSTAND, Refused
from pirtad.daemon.header import Header, read_header
from support.fuzz_bytes import damaged_bytes
from support.fuzz_elements import Coding, damaged_elements

_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_SERIES_UID = 0x0020000E
_UIDS = (("study_uid", "StudyInstanceUID"), ("series_uid", "SeriesInstanceUID"),
         ("sop_instance_uid", "SOPInstanceUID"), ("sop_class_uid", "SOPClassUID"))  # fmt: skip
_DEADLINE_S = 5.0
_INFLATED_BYTES = 16 * 2**20
_MEMORY_FACTOR, _MEMORY_BYTES = 4, 2**20
_BOMB_BYTES = 40 * 2**20


@dataclass(frozen=True, slots=True)
class Encoded:
    """A dataset as it came."""

    data: bytes
    syntax: str

    @property
    def coding(self) -> Coding:
        return Coding(self.syntax != _IMPLICIT, self.syntax != _BIG_ENDIAN)


@dataclass
class Outcome:
    """What came of datasets; `problem` of the last one, "" if there was none."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


def damaged(chance: random.Random, datasets: Sequence[tuple[bytes, str]]) -> Encoded:
    """One dataset with up to six things changed; a deflated one before deflation or after it."""
    one = Encoded(*chance.choice(datasets))
    is_deflated = one.syntax == _DEFLATED
    if is_deflated and chance.random() < 0.002:
        return Encoded(_deflated(one_bomb(chance)), _DEFLATED)
    inside = not is_deflated or chance.random() < 0.6
    data = zlib.decompress(one.data, -zlib.MAX_WBITS) if is_deflated and inside else one.data
    for _ in range(0 if chance.random() < 0.02 else min(6, 1 + int(chance.expovariate(0.7)))):
        if inside and chance.random() < 0.75:
            data = damaged_elements(chance, data, one.coding)
        else:
            data = damaged_bytes(chance, data)
    syntax = one.syntax if chance.random() < 0.95 else chance.choice(datasets)[1]  # not the one it is encoded in
    return Encoded(_deflated(data) if is_deflated and inside else data, syntax)


def one_bomb(chance: random.Random) -> bytes:
    """A private element that inflates to much more than was sent."""
    element = b"\x09\0\x10\x10OB\0\0" if chance.random() < 0.5 else b"\x20\0\x10\x10OB\0\0"
    return element + _BOMB_BYTES.to_bytes(4, "little") + bytes(_BOMB_BYTES)


def _deflated(data: bytes) -> bytes:
    press = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)
    return press.compress(data) + press.flush()


def problem_of(one: Encoded, outcome: Outcome, *, watches_memory: bool = False) -> str:
    """What must not be, or "": anything but a header or `Refused`, slowly or in much memory, or another header than
    pydicom's where pydicom reads it strictly."""
    if watches_memory:
        tracemalloc.start()
    began = time.perf_counter()
    header: Header | None = None
    try:
        header = read_header(one.data, one.syntax)
    except Refused as refused:
        if refused.status != CANNOT_UNDERSTAND:
            return f"refused with 0x{refused.status:04X}"
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        return f"raised {type(error).__name__}"
    finally:
        took_s = time.perf_counter() - began
        peak = tracemalloc.get_traced_memory()[1] if watches_memory else 0
        tracemalloc.stop()
    outcome.slowest_s = max(outcome.slowest_s, took_s)
    if took_s > _DEADLINE_S:
        return f"took {took_s:.0f} s"
    room = _INFLATED_BYTES * 2 if one.syntax == _DEFLATED else 0
    if peak > room + _MEMORY_FACTOR * len(one.data) + _MEMORY_BYTES:
        return f"took {peak / 2**20:.0f} MiB for {len(one.data)} bytes"
    return _compared(one, header, outcome)


def _compared(one: Encoded, header: Header | None, outcome: Outcome) -> str:
    theirs = _read_by_pydicom(one, whole=False)
    who = {(True, True): "read by both", (True, False): "read by us alone",
           (False, True): "read by pydicom alone", (False, False): "read by neither"}  # fmt: skip
    outcome.counts["datasets"] += 1
    outcome.counts[who[header is not None, theirs is not None]] += 1
    if header is None or theirs is None:
        return ""
    if differing := _difference(header, theirs):
        return f"another {differing} than pydicom's"
    outcome.counts[OTHER_VR] += any(uid.vr not in (None, "UI") for uid in theirs.values())
    # What stands behind the Series Instance UID is not looked at on arrival, but it is when the file is read again.
    whole = _read_by_pydicom(one, whole=True)
    outcome.counts[REPEATED] += whole is not None and bool(_difference(header, whole))
    return ""


# Known differences, and why they do no harm.
# The bytes are the same text, but pydicom takes them for numbers, or for text of another kind. The stage that reads the
# file finds no UID then, and sets the study aside.
OTHER_VR = "known: a UID under another VR than UI"
# Of elements in wrong order, pydicom keeps the last; we stop at the first Series Instance UID.
REPEATED = "known: a UID comes again behind the Series Instance UID"


@dataclass(frozen=True, slots=True)
class _Uid:
    vr: str | None
    text: str


def _difference(header: Header, theirs: dict[str, _Uid]) -> str:
    return next((keyword for name, keyword in _UIDS if getattr(header, name) != theirs[keyword].text), "")


def _read_by_pydicom(one: Encoded, *, whole: bool) -> dict[str, _Uid] | None:
    """The UIDs as pydicom reads them with validation on and warnings as errors; None if it does not."""
    mode = pydicom_config.settings.reading_validation_mode
    pydicom_config.settings.reading_validation_mode = pydicom_config.RAISE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = one.data
            if one.syntax == _DEFLATED:
                data = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(data, _INFLATED_BYTES)
            read = read_dataset(BytesIO(data), not one.coding.is_explicit, one.coding.is_little,
                                stop_when=None if whole else _behind_series())  # fmt: skip
            return _uids(read)
    except Exception:  # noqa: BLE001 - pydicom raises many things on damaged datasets
        return None
    finally:
        pydicom_config.settings.reading_validation_mode = mode


def _behind_series() -> Callable[[int, str | None, int], bool]:
    """True from the first element behind the first Series Instance UID on, or where that would have stood."""
    seen: list[int] = []

    def is_behind(tag: int, _vr: str | None, _length: int) -> bool:
        seen.append(tag)
        return tag > _SERIES_UID or _SERIES_UID in seen[:-1]

    return is_behind


def _uids(read: Dataset) -> dict[str, _Uid] | None:
    found = {}
    for _, keyword in _UIDS:
        if keyword not in read:
            return None
        raw = read.get_item(keyword)
        vr, value = raw.VR, raw.value if isinstance(raw, RawDataElement) else None
        _ = read[keyword].value  # decoded, and checked by its VR
        text = value.rstrip(b"\0 ").decode("ascii") if isinstance(value, bytes) else str(read[keyword].value)
        found[keyword] = _Uid(vr, text)
    return found
