"""One image file to its stored pixel values."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from pirtad.inference.dicom.frames import Instance
from pirtad.inference.dicom.plain import plain_text, plain_whole
from pirtad.inference.dicom.reading.usability import undecodable
from pirtad.inference.errors import StudyNotUsable

_UNDECODABLE = (
    *(InvalidDicomError, BytesLengthException, ValueError, TypeError, LookupError, AttributeError),
    *(NotImplementedError, RuntimeError, ArithmeticError, struct.error, zlib.error),
)


def stored_frames(instance: Instance, indices: Iterable[int]) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """Stored values of some frames of one image, without rescale: (index, (rows, columns)) in ascending order.

    indices: 0-based frame numbers; a single-frame image has frame 0. The file is read once, when the first frame is
    asked for, and frames are decoded one by one. Stored bits beyond BitsStored are cleared, signed values are signed.

    Raises:
        StudyNotUsable: "truncated_instance" when the file ends inside its pixel data, "undecodable_instance" when it
            cannot be decoded for another reason, "unsupported_transfer_syntax" when no decoder is installed,
            "changed_instance" when it is no longer the file whose header was read. The text names the SOP Instance
            UID.
    """
    uid = instance.sop_instance_uid
    problem = undecodable(instance.transfer_syntax_uid)
    if problem:
        raise _unusable(problem.code, f"instance {uid}: {problem.reason}")
    dataset = _read(instance)
    size = _checked_length(dataset, instance)
    decoder = get_decoder(instance.transfer_syntax_uid)
    for index in sorted(set(indices)):
        try:
            values, _ = decoder.as_array(dataset, index=index, raw=True)
        except EOFError as error:
            raise _truncated(uid) from error
        except _UNDECODABLE as error:
            coding = UID(instance.transfer_syntax_uid).name
            what = f"instance {uid} cannot be decoded from {coding} ({type(error).__name__})"
            raise _unusable("undecodable_instance", what) from error
        if values.shape != size:
            raise _unusable(
                "undecodable_instance", f"instance {uid} decodes to shape {values.shape}, not to grey {size}"
            )
        yield index, values


def _read(instance: Instance) -> Dataset:
    uid = instance.sop_instance_uid
    try:
        with warnings.catch_warnings():
            # How pydicom says that encapsulated pixel data has no end; it then hands back nothing at all.
            warnings.filterwarnings("error", "End of file reached", UserWarning)
            dataset = dcmread(instance.path)
    except (EOFError, UserWarning) as error:
        raise _truncated(uid) from error
    except OSError as error:
        if error.errno is not None:  # the disk's; pydicom's own say that nested items make no sense
            raise
        raise _unusable("undecodable_instance", f"instance {uid} cannot be read") from error
    except _UNDECODABLE as error:
        raise _unusable("undecodable_instance", f"instance {uid} cannot be read ({type(error).__name__})") from error
    if plain_text(dataset, "SOPInstanceUID") != uid:
        raise _unusable("changed_instance", f"the file of instance {uid} now holds another instance")
    if plain_text(dataset.file_meta, "TransferSyntaxUID") != instance.transfer_syntax_uid:
        raise _unusable("changed_instance", f"the file of instance {uid} now has another transfer syntax")
    return dataset


def _checked_length(dataset: Dataset, instance: Instance) -> tuple[int, int]:
    """Rows and columns, once it is sure that native pixel data is complete."""
    uid = instance.sop_instance_uid
    rows, columns, bits = (plain_whole(dataset, keyword) for keyword in ("Rows", "Columns", "BitsAllocated"))
    if not rows or not columns or not bits:
        raise _unusable("undecodable_instance", f"instance {uid} has no Rows, Columns or BitsAllocated")
    raw = dataset.get_item("PixelData")
    found = len(raw.value) if raw is not None and raw.value is not None else 0
    frames = plain_whole(dataset, "NumberOfFrames") or 1
    if not UID(instance.transfer_syntax_uid).is_encapsulated:
        expected = rows * columns * frames * bits // 8
        if found < expected:
            raise _unusable("truncated_instance", f"instance {uid} has {found} of {expected} bytes of pixel data")
    elif not found:
        raise _truncated(uid)
    return rows, columns


def _truncated(uid: str) -> StudyNotUsable:
    return _unusable("truncated_instance", f"the file of instance {uid} ends inside its pixel data")


def _unusable(code: str, reason: str) -> StudyNotUsable:
    return StudyNotUsable(code, reason, "Send the series again from its source, then retry.")
