"""The processes of a campaign: pirtad's own listener and worker as they are, a PACS, and senders.

pirtad's run unchanged but for three seams, put in here and never in the product: `time.time` can be set off, each
stage begins and ends with a pause of some 10 ms so that a kill finds it at work, and no language model is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

import pirtad.worker.engine
import pirtad.worker.main
from pirtad.daemon.service import run_listener
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.worker.contract import Stage
from pirtad.worker.ledger.jobs import ClaimedJob
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.settings import Settings, load_settings
from support.campaign_control import Control, PacsMode, Slot
from support.campaign_studies import Template, content_sha256

PACS_AE = "CAMPAIGN"
PAUSE_S = 0.03  # at most, before and after a stage's work
_TRIES_A_SECOND = 10


def listener(directory: Path, control: Control) -> int:
    """`pirtad listen`."""
    _set_off_clock(control)
    return run_listener(_settings(directory))


def worker(directory: Path, control: Control) -> int:
    """`pirtad worker` for all stages, one process."""
    _set_off_clock(control)
    if (directory / "full").exists():
        return pirtad.worker.main.run_worker(_settings(directory), tuple(Stage), 1)
    pirtad.worker.main.Pipeline = _PausingPipeline  # type: ignore[misc,attr-defined]
    pirtad.worker.engine.language_model = _no_language_model  # type: ignore[assignment]
    return pirtad.worker.main.run_worker(_settings(directory), tuple(Stage), 1)


def pacs(directory: Path, control: Control) -> int:
    """Keeps each object whole before it answers: one line for each time that one came, in `pacs.jsonl`."""
    kept = os.open(directory / "pacs.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    port = int((directory / "pacs.port").read_text(encoding="ascii"))

    def store(event: Any) -> int:
        mode = PacsMode(int(control.get(Slot.PACS_MODE)))
        if mode is PacsMode.REFUSES:
            return 0xA700
        while mode is PacsMode.HANGS and control.get(Slot.PACS_MODE) == PacsMode.HANGS:
            time.sleep(0.01)
        dataset: Dataset = event.dataset
        line = {
            "study": str(dataset.StudyInstanceUID),
            "sop_class": str(dataset.SOPClassUID),
            "uid": str(dataset.SOPInstanceUID),
            "sha256": hashlib.sha256(event.request.DataSet.getvalue()).hexdigest(),
        }
        os.write(kept, (json.dumps(line) + "\n").encode())
        if mode is PacsMode.LOSES_ANSWERS:
            event.assoc.abort()
        return 0x0000

    ae = AE(PACS_AE)
    for context in (Verification, BasicTextSRStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
        ae.add_supported_context(context)
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, store)])
    return 0


def sender(directory: Path, control: Control, number: int) -> int:
    """Sends study after study, each image until it is acknowledged, which is a line in `acked-N.jsonl`."""
    acked = os.open(directory / f"acked-{number}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    port = int((directory / "listener.port").read_text(encoding="ascii"))
    template = Template(directory / "template")
    draw = random.Random(os.urandom(8))
    ae = AE(f"SENDER{number}")
    ae.add_requested_context(MRImageStorage)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 10
    while True:
        if control.get(Slot.PAUSED):
            time.sleep(0.02)
            continue
        study_uid = f"2.25.{draw.getrandbits(100)}"
        images = template.study(study_uid)
        left = {str(image.SOPInstanceUID): image for image in images}
        while left:
            control.set(Slot.BUSY_FIRST + number, len(left))
            association = ae.associate("127.0.0.1", port, ae_title="PIRTAD")
            if not association.is_established:
                time.sleep(1 / _TRIES_A_SECOND)
                continue
            for uid, image in list(left.items()):
                try:
                    answer = association.send_c_store(image)
                except (RuntimeError, ValueError):  # the association is gone
                    break
                if answer.get("Status") != 0x0000:
                    break
                line = {"study": study_uid, "uid": uid, "sha256": content_sha256(image)}
                os.write(acked, (json.dumps(line) + "\n").encode())
                del left[uid]
                control.set(Slot.BUSY_FIRST + number, len(left))
            if association.is_established:
                association.release()
            if left:
                time.sleep(1 / _TRIES_A_SECOND)


def _settings(directory: Path) -> Settings:
    return load_settings(directory / "pirtad.toml")


def _set_off_clock(control: Control) -> None:
    real = time.time

    def now() -> float:
        return real() + control.get(Slot.CLOCK_OFFSET_S)

    time.time = now


def _no_language_model(_settings: Settings) -> FakeLanguageModel:
    return FakeLanguageModel()


class _PausingPipeline(Pipeline):
    """The pipeline, with pauses at its stages' ends."""

    def prepare(self, job: ClaimedJob) -> None:
        """See `Pipeline`."""
        _within_pauses(lambda: super(_PausingPipeline, self).prepare(job))

    def infer(self, job: ClaimedJob) -> None:
        """See `Pipeline`."""
        _within_pauses(lambda: super(_PausingPipeline, self).infer(job))

    def deliver(self, job: ClaimedJob, now: datetime) -> None:
        """See `Pipeline`."""
        _within_pauses(lambda: super(_PausingPipeline, self).deliver(job, now))


def _within_pauses(work: Callable[[], None]) -> None:
    time.sleep(random.uniform(0, PAUSE_S))
    work()
    time.sleep(random.uniform(0, PAUSE_S))
