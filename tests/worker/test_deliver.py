"""Delivery against real peers in this process, on 127.0.0.1."""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import MRImageStorage, Verification
from pynetdicom.transport import AssociationServer

from pirtad.worker.deliver import Destination, Outcome, echo, send
from pirtad.worker.errors import (
    DestinationRefused,
    DestinationUnavailable,
    NonConformant,
    Permanent,
    Transient,
    WorkerError,
)

SHORT_S = 0.4
SOP_INSTANCE_UID = "2.25.1234567890"


@pytest.fixture
def sr(tmp_path: Path) -> Path:
    """A Part 10 file of several PDUs that pydicom would not write again byte for byte: it has a group length."""
    dataset = Dataset()
    dataset.SOPClassUID = BasicTextSRStorage
    dataset.SOPInstanceUID = SOP_INSTANCE_UID
    dataset.PatientName = "Specimen^Ada"
    dataset.TextValue = "Finding. " * 10_000
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path / "sr.dcm"
    dcmwrite(path, dataset, enforce_file_format=True)
    group_length = struct.pack("<HH2sHL", 0x0008, 0x0000, b"UL", 4, 1234)
    content, body = path.read_bytes(), dataset_bytes(path)
    path.write_bytes(content[: -len(body)] + group_length + body)
    return path


def dataset_bytes(path: Path) -> bytes:
    """The file's bytes behind preamble, prefix and file meta information."""
    length_element = 12
    return path.read_bytes()[132 + length_element + read_file_meta_info(path).FileMetaInformationGroupLength :]


class Peers:
    """Real storage SCPs, each on a free port, all shut down at the end: one takes half a second, so together."""

    def __init__(self) -> None:
        self._servers: list[AssociationServer] = []

    def __call__(
        self,
        *handlers: tuple[evt.EventType, Callable[[evt.Event], object]],
        entity: AE | None = None,
        contexts: tuple[tuple[str, str], ...] = ((BasicTextSRStorage, ExplicitVRLittleEndian),),
    ) -> Destination:
        entity = entity or AE(ae_title="PACS")
        for abstract, syntax in contexts:
            entity.add_supported_context(abstract, syntax)
        entity.add_supported_context(Verification)
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
        self._servers.append(server)
        return destination(server.socket.getsockname()[1])

    def shut_down(self) -> None:
        with ThreadPoolExecutor(max_workers=len(self._servers)) as pool:
            list(pool.map(lambda server: server.shutdown(), self._servers))


@pytest.fixture(scope="module")
def peer() -> Iterator[Peers]:
    peers = Peers()
    yield peers
    peers.shut_down()


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def destination(port: int, **changes: float) -> Destination:
    return Destination("PACS", "127.0.0.1", port, "PIRTAD", **changes)


def answering(status: int) -> tuple[evt.EventType, Callable[[evt.Event], int]]:
    return evt.EVT_C_STORE, lambda _: status


def test_the_peer_receives_exactly_the_stored_bytes(sr: Path, peer: Peers) -> None:
    # Given a peer that keeps what arrives on the wire
    received: list[tuple[bytes, str, str, str]] = []

    def keep(event: evt.Event) -> int:
        request = event.request
        received.append(
            (
                request.DataSet.getvalue(),
                request.AffectedSOPClassUID,
                request.AffectedSOPInstanceUID,
                event.assoc.requestor.ae_title,
            )
        )
        return 0x0000

    pacs = peer((evt.EVT_C_STORE, keep))
    # When the report is sent, and sent again
    outcomes = [send(sr, pacs), send(sr, pacs)]
    # Then each time the bytes on disk arrived, under the file's UIDs
    assert outcomes == [Outcome(0x0000), Outcome(0x0000)]
    assert received == [(dataset_bytes(sr), BasicTextSRStorage, SOP_INSTANCE_UID, "PIRTAD")] * 2


@pytest.mark.parametrize(
    ("status", "words"), [(0xB000, "coercion"), (0xB006, "discarded"), (0xB0FF, "warning"), (0x0111, "already")]
)
def test_a_warning_counts_as_stored(sr: Path, peer: Peers, status: int, words: str) -> None:
    pacs = peer(answering(status))
    outcome = send(sr, pacs)
    assert outcome.status == status
    assert outcome.warned
    assert words in outcome.meaning


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110, 0x0213])
def test_a_peer_in_trouble_is_asked_again(sr: Path, peer: Peers, status: int) -> None:
    pacs = peer(answering(status))
    with pytest.raises(DestinationUnavailable, match=f"0x{status:04X}") as caught:
        send(sr, pacs)
    assert isinstance(caught.value, Transient)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x0122, "SOP class not supported"),
        (0x0124, "not authorized"),
        (0xA900, "does not match SOP class"),
        (0xC000, "cannot understand"),
        (0xCFFF, "cannot understand"),
        (0x1234, "unknown status"),
        (0xFF00, "unknown status"),
    ],
)
def test_a_peer_that_says_no_is_not_asked_again(sr: Path, peer: Peers, status: int, words: str) -> None:
    pacs = peer(answering(status))
    with pytest.raises(DestinationRefused) as caught:
        send(sr, pacs)
    assert isinstance(caught.value, Permanent)
    assert f"0x{status:04X}" in caught.value.reason
    assert words in caught.value.reason


@pytest.mark.parametrize(
    "contexts", [((MRImageStorage, ExplicitVRLittleEndian),), ((BasicTextSRStorage, ImplicitVRLittleEndian),)]
)
def test_no_presentation_context_is_permanent(sr: Path, peer: Peers, contexts: tuple[tuple[str, str], ...]) -> None:
    pacs = peer(answering(0), contexts=contexts)
    with pytest.raises(DestinationRefused) as caught:
        send(sr, pacs)
    assert caught.value.code == "no-presentation-context"
    assert "Basic Text SR" in caught.value.reason


def test_a_wrong_ae_title_is_permanent(sr: Path, peer: Peers) -> None:
    strict = AE(ae_title="OTHER")
    strict.require_called_aet = True
    pacs = peer(answering(0), entity=strict)
    with pytest.raises(DestinationRefused, match=r"AE title") as caught:
        send(sr, pacs)
    assert caught.value.code == "rejected"


def test_a_busy_peer_is_transient(sr: Path, peer: Peers) -> None:
    # Given a peer that takes one association at a time, and has one
    busy = AE(ae_title="PACS")
    busy.maximum_associations = 1
    with ExitStack() as stack:
        pacs = peer(answering(0), entity=busy)
        first = AE()
        first.add_requested_context(Verification)
        association = first.associate(pacs.host, pacs.port)
        assert association.is_established
        stack.callback(association.release)
        with pytest.raises(DestinationUnavailable) as caught:
            send(sr, pacs)
    assert caught.value.code == "rejected-transient"


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pynetdicom drops the socket it made
def test_nobody_there_is_transient(sr: Path) -> None:
    with listening() as server:
        port = server.getsockname()[1]
    with pytest.raises(DestinationUnavailable) as caught:
        send(sr, destination(port))
    assert caught.value.code == "no-connection"
    with pytest.raises(DestinationUnavailable):
        echo(destination(port))


def test_a_peer_that_does_not_answer_the_association_is_transient(sr: Path) -> None:
    with listening() as server, pytest.raises(DestinationUnavailable) as caught:
        send(sr, destination(server.getsockname()[1], association_timeout_s=SHORT_S))
    assert caught.value.code == "no-association"


def test_an_abort_at_once_is_transient(sr: Path, peer: Peers) -> None:
    pacs = peer((evt.EVT_REQUESTED, lambda event: event.assoc.abort()))
    with pytest.raises(DestinationUnavailable):
        send(sr, pacs)


def test_an_abort_instead_of_an_answer_is_transient(sr: Path, peer: Peers) -> None:
    def abort(event: evt.Event) -> int:
        event.assoc.abort()
        return 0x0000

    pacs = peer((evt.EVT_C_STORE, abort))
    with pytest.raises(DestinationUnavailable) as caught:
        send(sr, pacs)
    assert caught.value.code == "no-answer"


def test_a_connection_lost_instead_of_an_answer_is_transient(sr: Path, peer: Peers) -> None:
    def hang_up(event: evt.Event) -> int:
        event.assoc.dul.socket.close()
        return 0x0000

    pacs = peer((evt.EVT_C_STORE, hang_up))
    with pytest.raises(DestinationUnavailable) as caught:
        send(sr, pacs)
    assert caught.value.code == "no-answer"


def test_an_answer_that_never_comes_is_transient(sr: Path, peer: Peers) -> None:
    finished = threading.Event()

    def wait(_: evt.Event) -> int:
        finished.wait(30)
        return 0x0000

    pacs = peer((evt.EVT_C_STORE, wait))
    with pytest.raises(DestinationUnavailable) as caught:
        send(sr, destination(pacs.port, answer_timeout_s=SHORT_S))
    finished.set()
    assert caught.value.code == "no-answer"


def test_the_small_last_packet_is_not_held_back(sr: Path, peer: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    set_options: list[tuple[int, ...]] = []
    original = socket.socket.setsockopt

    def note(self: socket.socket, *options: int) -> None:
        set_options.append(options)
        original(self, *options)

    pacs = peer(answering(0))
    monkeypatch.setattr(socket.socket, "setsockopt", note)
    send(sr, pacs)
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in set_options


def test_a_file_that_is_no_dicom_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "sr.dcm").write_bytes(b"not DICOM")
    with pytest.raises(NonConformant):
        send(tmp_path / "sr.dcm", destination(1))
    with pytest.raises(FileNotFoundError):
        send(tmp_path / "absent.dcm", destination(1))


def test_echo(peer: Peers) -> None:
    pacs = peer()
    echo(pacs)
    pacs = peer((evt.EVT_C_ECHO, lambda _: 0x0122))
    with pytest.raises(DestinationRefused, match="0x0122"):
        echo(pacs)


@pytest.mark.parametrize("kind", [DestinationUnavailable, DestinationRefused, NonConformant])
def test_errors_cross_process_borders(kind: type[WorkerError]) -> None:
    error = pickle.loads(pickle.dumps(kind("code", "reason", "hint")))
    assert (type(error), error.code, error.reason, error.hint, str(error)) == (kind, "code", "reason", "hint", "reason")


@pytest.mark.parametrize("port", [0, 65536])
def test_an_impossible_port_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="port"):
        destination(port)
