"""The processes of a campaign: pirtad's own listener and worker as they are, a PACS, and senders.

pirtad's run unchanged but for these seams, put in here and never in the product: `time.time` can be set off; each stage
begins and ends with a pause of some 10 ms so that a kill finds it at work; no language model is loaded; the head's fit
to the atlas, nine tenths of a light study's time, takes no step; a worker that lost Redis looks for it again after
0.2 s and not 2 s; and lost messages are looked for every 3 s and not every minute.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from datetime import datetime
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
from kombu import Connection
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

import pirtad.daemon.dispatcher
import pirtad.inference.lesion.measure
import pirtad.worker.engine
import pirtad.worker.main
from pirtad.daemon.service import run_listener
from pirtad.inference.lesion.registration import Registration
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.worker.contract import Stage
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.settings import Settings, load_settings
from support.campaign_control import PACS_AE, Control, PacsMode, Slot
from support.campaign_setup import CONFIG, FULL, setup
from support.campaign_studies import Template, content_sha256
from support.campaign_supervised import queue, supervisor

PAUSE_S = 0.03  # at most, before and after a stage's work
_IMAGE_PAUSE_S = 0.01  # at most, between two images
_TRIES_A_SECOND = 10
_RECONNECT_S, _LOST_MESSAGES_CHECK_S = 0.2, 3.0


def listener(directory: Path, control: Control, _number: int) -> int:
    """`pirtad listen`."""
    _set_off_clock(control)
    if not (directory / FULL).exists():
        pirtad.daemon.dispatcher._LOST_MESSAGES_CHECK_S = _LOST_MESSAGES_CHECK_S
    return run_listener(_settings(directory))


def worker(directory: Path, control: Control, _number: int) -> int:
    """`pirtad worker` for all stages, one process."""
    _set_off_clock(control)
    if (directory / FULL).exists():
        return pirtad.worker.main.run_worker(_settings(directory), tuple(Stage), 1)
    Connection.ensure_connection = partialmethod(  # type: ignore[assignment]
        Connection.ensure_connection, interval_start=_RECONNECT_S, interval_step=0, interval_max=_RECONNECT_S
    )
    pirtad.inference.lesion.measure.register_imaged = _not_fitted
    pirtad.worker.main.Pipeline = _PausingPipeline  # type: ignore[misc,attr-defined]
    pirtad.worker.engine.language_model = _no_language_model  # type: ignore[assignment]
    return pirtad.worker.main.run_worker(_settings(directory), tuple(Stage), 1)


def pacs(directory: Path, control: Control, _number: int) -> int:
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
        block = int(control.get(Slot.BLOCK))
        images = template.study(study_uid)
        left = {str(image.SOPInstanceUID): image for image in images}
        while left:
            control.set(Slot.BUSY_FIRST + number, len(left))
            association = ae.associate("127.0.0.1", port, ae_title="PIRTAD")
            if not association.is_established:
                time.sleep(1 / _TRIES_A_SECOND)
                continue
            control.set(Slot.SENDING_FIRST + number, control.get(Slot.LISTENER_PID))
            for uid, image in list(left.items()):
                time.sleep(draw.uniform(0, _IMAGE_PAUSE_S))
                try:
                    answer = association.send_c_store(image)
                except (RuntimeError, ValueError):  # the association is gone
                    break
                if answer.get("Status") != 0x0000:
                    break
                line = {"study": study_uid, "uid": uid, "sha256": content_sha256(image), "block": block}
                os.write(acked, (json.dumps(line) + "\n").encode())
                del left[uid]
                control.set(Slot.BUSY_FIRST + number, len(left))
            control.set(Slot.SENDING_FIRST + number, 0)
            if association.is_established:
                association.release()
            if left:
                time.sleep(1 / _TRIES_A_SECOND)


def _settings(directory: Path) -> Settings:
    return load_settings(directory / CONFIG)


def _set_off_clock(control: Control) -> None:
    real = time.time

    def now() -> float:
        return real() + control.get(Slot.CLOCK_OFFSET_S)

    time.time = now


def _not_fitted(*_: object) -> Registration:
    """As of a head that could not be brought onto the atlas."""
    return Registration(np.eye(4), seconds=0.0, dice=0.0, correlation=0.0)


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


ROLES: dict[str, Callable[[Path, Control, int], int]] = {
    "setup": setup, "supervisor": supervisor, "queue": queue, "listener": listener, "worker": worker, "pacs": pacs,
    "sender": sender,
}  # fmt: skip
