"""Storage commitment at the listener: for senders, and the answers of our destinations, with real peers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from support.live import free_port
from support.receiving import STUDY, encoded, image, receiving_side, store_bytes
from support.shipping import all_kept, at_delivery, load, none_kept, reference, write_object

from pirtad.daemon.commitment import Committer
from pirtad.daemon.listener import Listener
from pirtad.worker import ask_commitment
from pirtad.worker.ask_commitment import CommitmentNotTaken, CommitmentUnsupported, ask
from pirtad.worker.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    Reference,
    Report,
    Request,
    read_report,
    read_request,
    report_dataset,
    request_dataset,
)
from pirtad.worker.deliver import Destination
from pirtad.worker.errors import DestinationUnavailable
from pirtad.worker.ledger import commitments, deliveries, shipments, views

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


class Listening:
    """A listener with its committer, and what a test needs of it."""

    def __init__(self, port: int, side: Any, directory: Path) -> None:
        self.port, self.side, self.directory = port, side, directory

    def store(self, *numbers: int) -> None:
        sender = AE("SCANNER")
        sender.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
        association = sender.associate("127.0.0.1", self.port, ae_title="PIRTAD")
        for number in numbers:
            assert store_bytes(association, encoded(image(number)), f"{STUDY}.2.{number}") == 0x0000
        association.release()


@contextmanager
def listening(tmp_path: Path, **peers: tuple[str, int]) -> Iterator[Listening]:
    port = free_port()
    with receiving_side(tmp_path, port=port) as side:
        committer = Committer("PIRTAD", side.database, tmp_path, side.registrar.flush, peers, time.time)
        listener = Listener(side.receiver.settings, side.receiver, side.notices, committer)
        listener.start()
        try:
            yield Listening(port, side, tmp_path)
        finally:
            listener.stop(5)


class Reports:
    """Takes N-EVENT-REPORTs, and says so when one has come."""

    def __init__(self) -> None:
        self.taken: list[Report] = []
        self._came = threading.Condition()

    def __call__(self, event: evt.Event) -> tuple[int, Dataset | None]:
        with self._came:
            self.taken.append(read_report(event.event_information))
            self._came.notify_all()
        return 0x0000, None

    def first(self) -> Report:
        with self._came:
            assert self._came.wait_for(lambda: self.taken, 15)
        return self.taken[0]


def images(*numbers: int) -> tuple[Reference, ...]:
    return tuple(Reference(str(MRImageStorage), f"{STUDY}.2.{number}") for number in numbers)


@contextmanager
def asking(port: int, reports: Reports | None, calling: str = "SCANNER") -> Iterator[Association]:
    sender = AE(calling)
    sender.add_requested_context(PUSH_MODEL)
    handlers = [] if reports is None else [(evt.EVT_N_EVENT_REPORT, reports)]
    association = sender.associate("127.0.0.1", port, ae_title="PIRTAD", evt_handlers=handlers)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def action(association: Association, request: Request) -> int:
    status, _ = association.send_n_action(request_dataset(request), REQUEST_COMMITMENT, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    return int(status.Status)


def test_only_what_lies_on_disk_whole_is_committed_to(tmp_path: Path) -> None:
    with listening(tmp_path) as here:
        # Given four images received, of which one was cut off on disk and one removed since
        here.store(1, 2, 3, 4)
        here.side.registrar.flush(5)
        kept = commitments.kept_files(here.side.database, {one.sop_instance_uid for one in images(1, 2, 3, 4)})
        (cut,), (removed,) = (kept[one.sop_instance_uid] for one in images(2, 3))
        content = (tmp_path / cut.path).read_bytes()
        (tmp_path / cut.path).unlink()  # a link of the spool's: not to be written through
        (tmp_path / cut.path).write_bytes(content[:-1])
        (tmp_path / removed.path).unlink()
        # When their sender asks for them, for one that never came, and for one under another class
        strange = (*images(9), Reference(CT_IMAGE, f"{STUDY}.2.4"))
        reports = Reports()
        with asking(here.port, reports) as association:
            assert action(association, Request("2.25.1", (*images(1, 2, 3), *strange))) == 0x0000
            report = reports.first()
    # Then the answer, on the same association, vouches for the one that is whole
    assert report.transaction_uid == "2.25.1"
    assert report.committed == images(1)
    assert report.failed == {**dict.fromkeys((*images(2, 3), *images(9)), 0x0112), strange[1]: 0x0119}


def test_an_image_that_was_just_answered_is_registered_first(tmp_path: Path) -> None:
    with listening(tmp_path) as here:
        reports = Reports()
        here.store(1)
        with asking(here.port, reports) as association:
            assert action(association, Request("2.25.2", images(1))) == 0x0000
            assert reports.first().committed == images(1)


# pynetdicom's own thread dies of an event that comes while it releases: just the sender that this is about.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sender_that_leaves_gets_its_answer_at_the_configured_address(tmp_path: Path) -> None:
    # Given a sender with a listener of its own, that takes no event on its first association
    reports = Reports()
    sender = AE("SCANNER")
    sender.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    server = sender.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports)])
    try:
        with listening(tmp_path, SCANNER=server.socket.getsockname()[:2]) as here:
            here.store(1)
            refusing = [(evt.EVT_N_EVENT_REPORT, lambda _: (0x0110, None))]
            asker = AE("SCANNER")
            asker.add_requested_context(PUSH_MODEL)
            association = asker.associate("127.0.0.1", here.port, ae_title="PIRTAD", evt_handlers=refusing)
            assert action(association, Request("2.25.3", images(1))) == 0x0000
            association.release()
            # Then it comes there
            assert reports.first().committed == images(1)
    finally:
        server.shutdown()


def test_what_is_no_request_is_refused(tmp_path: Path) -> None:
    with listening(tmp_path) as here:
        empty, broken = request_dataset(Request("2.25.4", ())), request_dataset(Request("2.25.4", images(1)))
        broken.TransactionUID = ""
        with asking(here.port, None) as association:
            for dataset in (empty, broken):
                status, _ = association.send_n_action(dataset, REQUEST_COMMITMENT, PUSH_MODEL, PUSH_MODEL_INSTANCE)
                assert status.Status == 0x0115
            fine = request_dataset(Request("2.25.4", images(1)))
            status, _ = association.send_n_action(fine, 2, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            assert status.Status == 0x0115
        # and the listener goes on
        here.store(1)


def asked(here: Listening) -> tuple[Any, Request]:
    """A job of which one object was sent to "pacs", which was asked to commit to it."""
    database = here.side.database
    job = at_delivery(database, "1.2.840.99.7")
    kept = write_object(here.directory, "2.25.1")
    load(database, job, ("pacs",), kept)
    deliveries.mark_delivered(database, job, "pacs", kept, 0x0000, 1.0)
    shipments.open_shares(database, job, ("pacs",))
    request = Request(str(generate_uid(prefix=None)), (reference(kept),))
    commitments.open_transaction(database, job, "pacs", request.transaction_uid, ["2.25.1"], 2.0)
    return job, request


def answer(port: int, report: Report, calling: str = "PACS") -> int:
    """A destination's N-EVENT-REPORT on an association of its own, roles reversed."""
    pacs = AE(calling)
    pacs.add_requested_context(PUSH_MODEL)
    role = build_role(PUSH_MODEL, scp_role=True)
    association = pacs.associate("127.0.0.1", port, ae_title="PIRTAD", ext_neg=[role])
    assert association.is_established
    status, _ = association.send_n_event_report(
        report_dataset(report), report.event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
    )
    association.release()
    return int(status.Status)


@pytest.mark.parametrize(("say", "committed", "reason"), [(all_kept, True, None), (none_kept, False, 0x0112)])
def test_a_destinations_answer_on_a_new_association_reaches_the_ledger(
    tmp_path: Path, say: Any, committed: bool, reason: int | None
) -> None:
    with listening(tmp_path) as here:
        job, request = asked(here)
        assert answer(here.port, say(request)) == 0x0000
        kept = deliveries.kept_objects(here.side.database, job, "pacs")["narrative"]
        assert (kept.is_committed, kept.refuted_for) == (committed, reason)
        # One about a question that was never put changes nothing, and leaves no notice of an empty association
        assert answer(here.port, Report("2.25.999", request.references)) == 0x0115
        assert "empty_association" not in [one.kind for one in views.notices(here.side.database)]


# --- our own questions, to peers of every kind ---------------------------------------------------------------------


@contextmanager
def pacs(*handlers: Any, commitment: bool = True) -> Iterator[Destination]:
    entity = AE("PACS")
    entity.add_supported_context(PUSH_MODEL if commitment else MRImageStorage)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    try:
        yield Destination("PACS", "127.0.0.1", server.socket.getsockname()[1], answer_timeout_s=2)
    finally:
        server.shutdown()


REQUEST = Request("2.25.5", images(1, 2))


def put(destination: Destination, wait_s: float = 10.0) -> list[Report]:
    """Ask; returns what was answered on the association."""
    got: list[Report] = []

    def take(report: Report) -> bool:
        got.append(report)
        return True

    ask(destination, REQUEST, take, lambda: bool(got), wait_s)
    return got


def test_an_answer_on_the_same_association_is_taken() -> None:
    def act(event: evt.Event) -> tuple[int, Dataset | None]:
        request = read_request(event.action_information)
        report = Report(request.transaction_uid, request.references[:1], {request.references[1]: 0x0112})

        def later() -> None:
            event.assoc.send_n_event_report(report_dataset(report), report.event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE)

        threading.Timer(0.05, later).start()
        return 0x0000, None

    with pacs((evt.EVT_N_ACTION, act)) as destination:
        assert put(destination) == [Report("2.25.5", images(1), {images(2)[0]: 0x0112})]


def test_a_peer_without_the_service() -> None:
    with pacs(commitment=False) as destination, pytest.raises(CommitmentUnsupported):
        put(destination)


@pytest.mark.parametrize(("status", "kind"), [(0x0122, CommitmentUnsupported), (0x0110, CommitmentNotTaken)])
def test_a_question_that_is_refused(status: int, kind: type[Exception]) -> None:
    with pacs((evt.EVT_N_ACTION, lambda _: (status, None))) as destination, pytest.raises(kind):
        put(destination)


def test_a_peer_that_ends_the_association_over_the_question() -> None:
    """As Orthanc does when it has no address for us."""

    def act(event: evt.Event) -> tuple[int, Dataset | None]:
        event.assoc.abort()
        return 0x0000, None

    with pacs((evt.EVT_N_ACTION, act)) as destination, pytest.raises(CommitmentNotTaken) as caught:
        put(destination)
    assert caught.value.code == "commitment-no-answer"


# pynetdicom leaves the socket of a connection that was refused to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nobody_there() -> None:
    with pytest.raises(DestinationUnavailable):
        put(Destination("PACS", "127.0.0.1", free_port(), connect_timeout_s=1))


def test_an_answer_that_makes_no_sense_is_not_taken() -> None:
    statuses: list[int] = []
    done = threading.Event()

    def act(event: evt.Event) -> tuple[int, Dataset | None]:
        def later() -> None:
            nonsense = Dataset()
            nonsense.PatientName = "Specimen^Ada"
            status, _ = event.assoc.send_n_event_report(nonsense, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            statuses.append(int(status.Status))
            done.set()

        threading.Timer(0.05, later).start()
        return 0x0000, None

    with pacs((evt.EVT_N_ACTION, act)) as destination:
        ask(destination, REQUEST, lambda _: True, done.is_set, 10)
    assert statuses == [ask_commitment.PROCESSING_FAILURE]
