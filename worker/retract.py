"""The note that withdraws a delivered result, composed from the kept bytes of what was delivered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from pirtad.worker.errors import Permanent
from pirtad.worker.ledger.deliveries import KeptObject
from pirtad.worker.ledger.retractions import Withdrawal
from pirtad.worker.sr.picture import serialise_object
from pirtad.worker.sr.retraction import compose_retraction, reference_to, retraction_identity


def compose_note(
    data_dir: Path,
    delivered: Sequence[KeptObject],
    withdrawal: Withdrawal,
    *,
    requested_at: datetime,
    pirtad_version: str,
) -> tuple[str, bytes]:
    """(SOP Instance UID, Part 10 file) of the one note that rejects all these objects.

    requested_at: with its time zone; the note's moment, so that composed again it is the same.
    Raises `Permanent` when the bytes that were delivered are gone, `NonConformant` for a note that must not be sent.
    """
    withdrawn = [_read(data_dir, kept) for kept in delivered]
    identity = retraction_identity(
        [reference_to(one) for one in withdrawn], withdrawal.reason, withdrawal.words, content_datetime=requested_at
    )
    note = compose_retraction(
        withdrawn, withdrawal.reason, withdrawal.words, pirtad_version=pirtad_version, identity=identity
    )
    return identity.sop_instance_uid, serialise_object(note)


def _read(data_dir: Path, kept: KeptObject) -> Dataset:
    path = data_dir / kept.path
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != kept.sha256:
        raise Permanent(
            "result-lost",
            f"the {kept.role} as it was delivered is no longer in the data directory",
            "restore its results folder, then `pirtad retry`; or reject the objects in the PACS itself",
        )
    return dcmread(BytesIO(content), stop_before_pixels=True)
