"""Asking a worklist: servers that answer, refuse, hang and lie."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind
from support.worklist import Answer, endless, entry, image, settings, silent, worklist

from pirtad.worker.registry.matching import asked_of
from pirtad.worker.registry.worklist import MOST_ANSWERS, WorklistSilent, ask

ASKED = asked_of(image())


def answering(*answers: Answer):
    def answer(_query: Dataset) -> Iterator[Answer]:
        yield from answers

    return answer


def test_every_entry_is_returned_and_the_query_names_patient_and_order() -> None:
    queries = []

    def answer(query: Dataset) -> Iterator[Answer]:
        queries.append(query)
        yield 0xFF00, entry()
        yield 0xFF01, entry(PatientID="PID-2")
        yield 0x0000, None

    with worklist(answer) as asking:
        found = ask(ASKED, asking)

    assert [one.PatientID for one in found] == ["PID-1", "PID-2"]
    assert found[0].AdditionalPatientHistory == "Vorhofflimmern, früher TIA"
    (query,) = queries
    assert (query.PatientID, query.AccessionNumber) == ("PID-1", "ACC-7")
    assert query.ReasonForTheRequestedProcedure is None or query.ReasonForTheRequestedProcedure == ""
    assert "ScheduledProcedureStepSequence" in query


def test_an_empty_worklist_is_an_answer() -> None:
    with worklist(answering((0x0000, None))) as asking:
        assert ask(ASKED, asking) == ()


def test_a_patient_id_beyond_ascii_is_asked_for_in_utf_8() -> None:
    queries = []

    def answer(query: Dataset) -> Iterator[Answer]:
        queries.append((query.get("SpecificCharacterSet"), query.PatientID))
        yield 0x0000, None

    with worklist(answer) as asking:
        ask(asked_of(image(PatientID="MÜLLER-1")), asking)
    assert queries == [("ISO_IR 192", "MÜLLER-1")]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (((0xFF00, entry()), (0xA700, None)), "status 0xA700"),
        (((0xFE00, None),), "status 0xFE00"),
        (tuple((0xFF00, entry()) for _ in range(MOST_ANSWERS + 1)), f"more than {MOST_ANSWERS}"),
    ],
)
def test_a_part_of_the_answers_is_none(answers: tuple[Answer, ...], told: str) -> None:
    with worklist(answering(*answers)) as asking, pytest.raises(WorklistSilent, match=told):
        ask(ASKED, asking)


def test_a_server_without_worklist_is_told_of() -> None:
    server = worklist(answering(), accepts=StudyRootQueryRetrieveInformationModelFind)
    with server as asking, pytest.raises(WorklistSilent, match="offers no modality worklist"):
        ask(ASKED, asking)


def test_a_rejected_association_is_told_of() -> None:
    with worklist(answering(), title="OTHER") as asking, pytest.raises(WorklistSilent, match="rejected"):
        ask(ASKED, asking)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pynetdicom drops the socket it made
def test_nobody_there_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(WorklistSilent, match="no connection"):
        ask(ASKED, settings(port))
    gc.collect()  # here, and not in the next test


def test_a_server_that_is_silent_costs_no_more_than_the_timeout() -> None:
    with silent() as asking:
        begun = time.monotonic()
        with pytest.raises(WorklistSilent, match=r"no complete answer within 0\.3 s|did not answer"):
            ask(ASKED, asking)
        assert time.monotonic() - begun < 2


def test_a_server_that_stops_in_the_middle_costs_no_more_and_its_first_entry_is_not_used() -> None:
    with endless(threading.Event()) as asking:
        begun = time.monotonic()
        with pytest.raises(WorklistSilent):
            ask(ASKED, asking)
        assert time.monotonic() - begun < 2


def test_a_name_that_is_looked_up_for_ever_costs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(AE, "associate", lambda *_args, **_kwargs: ended.wait(20))
    try:
        with pytest.raises(WorklistSilent, match="within"):
            ask(ASKED, settings(104, timeout_s=0.2))
    finally:
        ended.set()


def test_the_most_talkative_log_holds_no_patient(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with worklist(answering((0xFF00, entry()), (0x0000, None))) as asking:
        ask(ASKED, asking)
    for secret in ("PID-1", "Specimen", "Hemiparese", "Vorhofflimmern", "19550301", "ACC-7"):
        assert secret not in caplog.text
    assert "PID-1" not in repr(ASKED)
