"""A PACS that keeps each object whole before it answers, one line for each time that one came: `python -m
support.day_pacs DIR`. It imports nothing of pirtad, so that it starts at once and stays small."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

AE_TITLE = "DAY"


def main(directory: Path) -> None:
    """Serve until ended; lines go to `pacs.jsonl`, in the form that `support.campaign_check` reads."""
    kept = os.open(directory / "pacs.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    port = int((directory / "pacs.port").read_text(encoding="ascii"))

    def store(event: Any) -> int:
        dataset = event.dataset
        line = {
            "study": str(dataset.StudyInstanceUID),
            "sop_class": str(dataset.SOPClassUID),
            "uid": str(dataset.SOPInstanceUID),
            "sha256": hashlib.sha256(event.request.DataSet.getvalue()).hexdigest(),
        }
        os.write(kept, (json.dumps(line) + "\n").encode())
        return 0x0000

    ae = AE(AE_TITLE)
    for context in (Verification, BasicTextSRStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
        ae.add_supported_context(context)
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
