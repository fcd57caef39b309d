"""What counts as received, against what was sent and what is on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pydicom.filereader import read_file_meta_info

from pirtad.daemon.part10 import MAX_START_BYTES, read_start
from pirtad.daemon.spool import Received, Spool
from support.fuzz_oracle import Sent
from support.receiving import Receiving, files

_PREFIX_BYTES, _GROUP_LENGTH_BYTES = 132, 12


def paired(added: list[Received], sent: list[Sent], syntaxes: dict[int, str]) -> list[tuple[Received, Sent]] | None:
    """Each image with what was sent of it, in order; None if one of them was not sent, or not to its end."""
    pairs, rest = [], iter(sent)
    for received in added:
        receipt = received.receipt
        for one in rest:
            syntax = syntaxes.get(one.context, receipt.transfer_syntax_uid if not syntaxes else "")
            digest = hashlib.sha256(receipt.transfer_syntax_uid.encode() + b"\n" + one.dataset).digest()
            if (syntax, one.sop_instance_uid, digest) == (
                receipt.transfer_syntax_uid, receipt.sop_instance_uid, receipt.content_sha256,
            ):  # fmt: skip
                pairs.append((received, one))
                break
        else:
            return None
    return pairs


def spool_problems(
    spool: Spool, side: Receiving, truth: list[tuple[Received, Sent]], is_registered: bool
) -> list[tuple[str, str]]:
    """What is on disk against what was received."""
    if is_registered:
        return _ledger_problems(spool, side, truth)
    found: list[tuple[str, str]] = []
    for received, sent in truth:
        found += _file_problems(received.incoming, received, sent)
    on_disk = files(spool.data_dir / "spool")
    if len(on_disk) != len(truth):
        found.append(("files left over", f"{len(on_disk)} files, {len(truth)} images"))
    # The truth about a spool is what the next start makes of it.
    again = {(one.incoming, one.sha256, one.size_bytes, one.header) for one in Spool(spool.data_dir).prepare()}
    if again != {(one.incoming, one.sha256, one.size_bytes, one.header) for one, _ in truth}:
        found.append(("a restart would see other images", f"{len(again)} instead of {len(truth)}"))
    return found


def _ledger_problems(spool: Spool, side: Receiving, truth: list[tuple[Received, Sent]]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if not side.registrar.flush(60):
        return [("not registered", "within 60 s")]
    with side.database.reading() as session:
        rows = {path for (path,) in session.connection().exec_driver_sql("SELECT path FROM instances").all()}
    if rows != {received.path for received, _ in truth}:
        found.append(("the ledger has other images", f"{len(rows)} rows"))
    for received, sent in truth:
        found += _file_problems(spool.data_dir / received.path, received, sent)
    if files(spool.data_dir / "spool") != sorted(spool.data_dir / path for path in rows):
        found.append(("files left over", f"{len(rows)} rows"))
    return found


def _file_problems(path: Path, received: Received, sent: Sent) -> Iterator[tuple[str, str]]:
    """The file is the dataset behind a file meta that pydicom and we read alike."""
    data = path.read_bytes()
    start = read_start(data[:MAX_START_BYTES])
    meta = read_file_meta_info(path)
    if len(data) != received.size_bytes or not data.endswith(sent.dataset):
        yield "other bytes on disk", f"{len(data)} of {received.size_bytes}"
    position = _PREFIX_BYTES + _GROUP_LENGTH_BYTES + int(meta.FileMetaInformationGroupLength)
    if start is None or start[1] != position or data[position:] != sent.dataset:
        yield "file meta of another length", ""
        return
    # Who sent it may differ where the same content came twice: one file holds it.
    said = (str(meta.MediaStorageSOPInstanceUID), str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
    receipt = received.receipt
    if said != (receipt.sop_instance_uid, receipt.sop_class_uid, receipt.transfer_syntax_uid) or (
        start[0].content_sha256 != receipt.content_sha256 or start[0].dataset_bytes != len(sent.dataset)
    ):
        yield "file meta of another image", ""
