"""Scanners: each sends what it is handed, by DCMTK's storescu, until all is acknowledged: a line in `acked-N.jsonl`.

pynetdicom's sender loses answers where it has no processor, and then waits for its timeout: no scanner does.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from support import live
from support.campaign_studies import content_sha256
from support.day_images import DayImages
from support.day_plan import Kind, Sending

SCANNERS = 4
STAT_AE = "EMERGENCY"
_TRY_FOR_S = 180.0
_PAUSE_S = 0.2


class Scanners:
    """So many at once; more that are due wait for one to be free."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory, self._port = directory, port
        self._storescu = live.tool("storescu")
        self._images = DayImages(directory / "template")
        self._due: queue.Queue[Sending] = queue.Queue()
        self._lock = threading.Lock()
        self.broken = 0  # associations that did not bring all
        self.given_up: list[Sending] = []
        for number in range(SCANNERS):
            threading.Thread(target=self._run, args=(number,), name=f"scanner {number}", daemon=True).start()

    def send(self, sending: Sending) -> None:
        """It is due."""
        self._due.put(sending)

    @property
    def are_idle(self) -> bool:
        """Whether all that was due is sent, or given up."""
        return self._due.unfinished_tasks == 0

    def _run(self, number: int) -> None:
        acked = os.open(self._directory / f"acked-{number}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        while True:
            sending = self._due.get()
            ae_title = STAT_AE if sending.kind is Kind.STAT else f"SCANNER{number}"
            with tempfile.TemporaryDirectory(dir=self._directory) as name:
                left = self._written(sending, Path(name))
                deadline = time.monotonic() + _TRY_FOR_S
                while left and time.monotonic() < deadline:
                    for path in self._sent(list(left), ae_title):
                        os.write(acked, (json.dumps(left.pop(path)) + "\n").encode())
                    if left:
                        with self._lock:
                            self.broken += 1
                        time.sleep(_PAUSE_S)
            if left:
                self.given_up.append(sending)
            self._due.task_done()

    def _written(self, sending: Sending, directory: Path) -> dict[str, dict[str, str]]:
        """Files in order, and the line that says that one is acknowledged."""
        lines = {}
        for number, image in enumerate(self._images.of(sending)):
            path = directory / f"{number:04d}.dcm"
            image.save_as(path, enforce_file_format=True)
            lines[str(path)] = {
                "study": sending.study_uid, "uid": str(image.SOPInstanceUID), "sha256": content_sha256(image),
            }  # fmt: skip
        return lines

    def _sent(self, paths: list[str], ae_title: str) -> list[str]:
        """Send over one association; those that were answered with Success."""
        command = [self._storescu, "-v", "-R", "-aet", ae_title, "-aec", "PIRTAD", "127.0.0.1", str(self._port), *paths]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TRY_FOR_S,
            env={**os.environ, "TCP_NODELAY": "1"},
        )  # fmt: skip
        acked, current = [], ""
        for line in (done.stdout + done.stderr).splitlines():
            if "Sending file: " in line:
                current = line.partition("Sending file: ")[2].strip()
            elif "Received Store Response (Success)" in line:
                acked.append(current)
        return acked
