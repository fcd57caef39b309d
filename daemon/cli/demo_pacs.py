"""A PACS for the demo and for trying things out: a storage SCP that keeps what it is sent and answers C-ECHO."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

AE_TITLE = "DEMOPACS"


class DemoPacs:
    """Keeps every object under `directory`, named by its SOP Instance UID, and counts how often each came."""

    def __init__(self, directory: Path, port: int, host: str = "127.0.0.1") -> None:
        self._directory = directory
        self._address = (host, port)
        self._lock = threading.Lock()
        self._server: Any = None
        self.received: dict[str, int] = {}  # SOP Instance UID -> times

    def start(self) -> None:
        """Listen; returns once associations are taken."""
        self._directory.mkdir(parents=True, exist_ok=True)
        ae = AE(AE_TITLE)
        taken = (BasicTextSRStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
        for context in (Verification, *taken):
            ae.add_supported_context(context)
        self._server = ae.start_server(self._address, block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()

    def path(self, sop_instance_uid: str) -> Path:
        """Where an object is kept."""
        return self._directory / f"{sop_instance_uid}.dcm"

    def _store(self, event: Any) -> int:  # noqa: ANN401 - pynetdicom's event
        dataset: Dataset = event.dataset
        dataset.file_meta = event.file_meta
        uid = str(dataset.SOPInstanceUID)
        dataset.save_as(self.path(uid), enforce_file_format=True)
        with self._lock:
            self.received[uid] = self.received.get(uid, 0) + 1
        return 0x0000
