"""A worklist of one's own: entries, and servers that answer well, badly or not at all. On loopback alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom.sop_class import ModalityWorklistInformationFind

from pirtad.worker.settings import WorklistSettings
from support.finding import Answer, find_server, silent_host

STUDY = "1.2.840.99.1"


def entry(**attributes: Any) -> Dataset:
    """A worklist entry for a 71-year-old's study; attributes take the place of these, None leaves one out."""
    made = Dataset()
    stated = {
        "SpecificCharacterSet": "ISO_IR 192", "PatientID": "PID-1", "PatientName": "Specimen^Ada",
        "PatientBirthDate": "19550301", "PatientSex": "F", "AccessionNumber": "ACC-7", "StudyInstanceUID": STUDY,
        "ReasonForTheRequestedProcedure": "Hemiparese links", "AdditionalPatientHistory": "Vorhofflimmern, früher TIA",
        "RequestedProcedureDescription": "MRT Schädel", "RequestedProcedureID": "RP1",
        **attributes,
    }  # fmt: skip
    for keyword, value in stated.items():
        if value is not None:
            setattr(made, keyword, value)
    step = Dataset()
    step.ScheduledProcedureStepID, step.ScheduledProcedureStepDescription = "SPS1", "MRT Schädel"
    step.Modality, step.ScheduledStationAETitle = "MR", "MR1"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20260304", "1200"
    made.ScheduledProcedureStepSequence = [step]
    return made


def image(**attributes: Any) -> Dataset:
    """The header of an image of that study, without age, reason or history."""
    left_out = ("ReasonForTheRequestedProcedure", "AdditionalPatientHistory", "RequestedProcedureDescription")
    made = entry(**{**dict.fromkeys(left_out), "StudyDate": "20260304", **attributes})
    del made.ScheduledProcedureStepSequence
    return made


@contextmanager
def worklist(
    answer: Callable[[Dataset], Iterator[Answer]], *, accepts: Any = ModalityWorklistInformationFind, title: str = "WL"
) -> Iterator[WorklistSettings]:
    """A server that answers each query so; yields the settings to ask it with."""
    with find_server(answer, accepts, title) as port:
        yield settings(port)


@contextmanager
def silent() -> Iterator[WorklistSettings]:
    """A host whose system takes the connection and whose program never answers."""
    with silent_host() as port:
        yield settings(port, timeout_s=0.3)


@contextmanager
def endless(ended: threading.Event) -> Iterator[WorklistSettings]:
    """A server that sends one entry and then nothing until the event."""

    def answer(_query: Dataset) -> Iterator[Answer]:
        yield 0xFF00, entry()
        ended.wait(20)
        yield 0x0000, None

    with worklist(answer) as asking:
        try:
            yield asking.model_copy(update={"timeout_s": 0.5})
        finally:
            ended.set()


def settings(port: int, *, timeout_s: float = 10) -> WorklistSettings:
    """To ask the server on this port."""
    return WorklistSettings(enabled=True, ae_title="WL", host="127.0.0.1", port=port, timeout_s=timeout_s)
