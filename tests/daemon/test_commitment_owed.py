"""Answers to storage commitment that a sender did not take: none is forgotten, and they are no way to fill memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from support.live import free_port
from support.receiving import STUDY, receiving_side

from pirtad.daemon import association as association_module
from pirtad.daemon.commitment import Committer
from pirtad.daemon.listener import Listener
from pirtad.worker.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    Reference,
    Report,
    Request,
    request_dataset,
)

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def _ask(association: Association, transaction: str, message_id: int, images: int = 1) -> int:
    references = tuple(Reference(MR_IMAGE, f"{STUDY}.2.{number}") for number in range(1, images + 1))
    dataset = request_dataset(Request(transaction, references))
    status, _ = association.send_n_action(
        dataset, REQUEST_COMMITMENT, PUSH_MODEL, PUSH_MODEL_INSTANCE, msg_id=message_id
    )
    return int(status.Status)


def _asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *questions: tuple[str, int, int]
) -> tuple[list[int], set[str]]:
    """Statuses, and the transactions whose answers went another way, of a sender that refuses every answer."""
    later: list[Report] = []
    monkeypatch.setattr(Committer, "send_later", lambda _committer, _ae_title, report: later.append(report))
    port = free_port()
    with receiving_side(tmp_path, port=port) as side:
        committer = Committer("PIRTAD", side.database, tmp_path, side.registrar.flush, {}, side.clock)
        listener = Listener(side.receiver.settings, side.receiver, side.notices, committer)
        listener.start()
        try:
            sender = AE("SCANNER")
            sender.add_requested_context(PUSH_MODEL, ExplicitVRLittleEndian)
            refusing = [(evt.EVT_N_EVENT_REPORT, lambda _: (0x0110, None))]
            association = sender.associate("127.0.0.1", port, ae_title="PIRTAD", evt_handlers=refusing)
            statuses = [_ask(association, *question) for question in questions]
            association.release()
            assert listener.wait_until_idle(10)
        finally:
            listener.stop(5)
    return statuses, {report.transaction_uid for report in later}


def test_every_answer_that_was_not_taken_goes_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given message ids that go down, as they may (PS3.7 section 9.3.1.1: unique among those that are not answered)
    asked = _asked(tmp_path, monkeypatch, ("2.25.1", 3, 1), ("2.25.2", 2, 1), ("2.25.3", 1, 1))
    assert asked == ([0, 0, 0], {"2.25.1", "2.25.2", "2.25.3"})


def test_with_too_much_owed_no_further_request_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association_module, "_MAX_OWED_REFERENCES", 4, raising=False)
    asked = _asked(tmp_path, monkeypatch, ("2.25.1", 1, 5), ("2.25.2", 2, 1))
    assert asked == ([0, 0x0213], {"2.25.1"})


def test_an_answer_that_can_not_be_sent_now_takes_no_room_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with receiving_side(tmp_path) as side:
        committer = Committer(
            "PIRTAD", side.database, tmp_path, lambda _: True, {"SCANNER": ("127.0.0.1", 1)}, side.clock
        )
        # Given more answers than there is room for, in a moment without threads
        monkeypatch.setattr(committer._pool, "submit", no_thread)
        for _ in range(200):
            committer.send_later("SCANNER", Report("2.25.1", ()))
        # Then later ones are sent
        sent: list[object] = []
        monkeypatch.setattr(committer._pool, "submit", lambda *arguments: sent.append(arguments))
        committer.send_later("SCANNER", Report("2.25.2", ()))
        assert len(sent) == 1
        committer.stop()
