"""Recordings of real associations: senders of several makers store, echo, ask for commitment and break off.

Each sender talks to our own listener through a relay, which keeps what the sender sent.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import MRImageStorage, StorageCommitmentPushModel, Verification

from pirtad.daemon.cli.sending import send_directory
from pirtad.daemon.commitment import Committer
from pirtad.daemon.listener import Listener
from pirtad.worker.commitment import (
    PUSH_MODEL_INSTANCE,
    Reference,
    Report,
    Request,
    report_dataset,
    request_dataset,
)
from support.fuzz_images import IMPLICIT, SYNTAXES, files_of
from support.fuzz_streams import Recording
from support.live import free_port
from support.raw_peer import ABORT_PDU
from support.receiving import STUDY, associated, image, receiving_side

_TIMEOUT_S = 20


@dataclass
class _Relay:
    """A port that passes on to another, one connection after the other, and keeps what came in."""

    towards: int
    port: int = 0
    heard: list[bytearray] = field(default_factory=list)

    def serve(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.towards))
            kept = bytearray()
            self.heard.append(kept)
            back = threading.Thread(target=_pass_on, args=(far, near, bytearray()))
            back.start()
            _pass_on(near, far, kept)
            back.join(_TIMEOUT_S)
            near.close()
            far.close()


def _pass_on(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            kept += data
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def _relayed(towards: int) -> Iterator[_Relay]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        relay = _Relay(towards, server.getsockname()[1])
        thread = threading.Thread(target=relay.serve, args=(server,))
        thread.start()
        try:
            yield relay
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(_TIMEOUT_S)


@contextmanager
def _listening(directory: Path) -> Iterator[int]:
    port = free_port()
    with receiving_side(directory, port=port) as side:
        committer = Committer("PIRTAD", side.database, directory, side.registrar.flush, {}, side.clock)
        listener = Listener(side.receiver.settings, side.receiver, side.notices, committer)
        listener.start()
        try:
            yield port
        finally:
            listener.stop(grace_s=10)


def recordings(directory: Path, *, with_programs: bool = True) -> list[Recording]:
    """Made once and then read: the same directory gives the same ones. Without programs: Python senders alone."""
    kept = directory / "corpus"
    if not kept.is_dir():
        _record(directory / "recording", with_programs)
        (directory / "recording" / "streams").rename(kept)
        shutil.rmtree(directory / "recording")
    found = [Recording(path.stem, path.read_bytes()) for path in sorted(kept.glob("*.pdus"))]
    return [*found, *_broken_off(found)]


def _broken_off(found: list[Recording]) -> list[Recording]:
    """An abort in the middle of each second one."""
    return [
        Recording(f"{one.name}-aborted", one.stream[: len(one.stream) * 2 // 3] + ABORT_PDU) for one in found[::4]
    ] + [Recording(f"{one.name}-cut", one.stream[: len(one.stream) // 2]) for one in found[1::4]]


def _record(directory: Path, with_programs: bool) -> None:
    streams = directory / "streams"
    streams.mkdir(parents=True)
    files = files_of(directory / "files")
    with structlog.testing.capture_logs(), _listening(directory / "data") as port:
        for name, send in _senders(files, with_programs):
            with _relayed(port) as relay:
                send(relay.port)
            for number, heard in enumerate(relay.heard):
                (streams / f"{name}-{number}.pdus").write_bytes(heard)


def _senders(files: dict[str, Path], with_programs: bool) -> Iterator[tuple[str, Callable[[int], None]]]:
    """By name: called with the port to talk to."""
    yield "own-several", lambda port: _own(files["several"], port)
    yield "own-each-syntax", lambda port: _own(files["each"], port)
    yield "pynetdicom-store", _pynetdicom_stores
    yield "pynetdicom-abort", lambda port: _pynetdicom_stores(port, aborts=True)
    yield "pynetdicom-commit", _asks_for_commitment
    yield "pynetdicom-report", _reports_commitment
    yield "pynetdicom-echo", _echoes
    if not with_programs:
        return
    several = [str(path) for path in sorted(files["several"].glob("*.dcm"))]
    for name, arguments in (
        ("echoscu", ["echoscu", "--repeat", "2"]),
        ("echoscu-many", ["echoscu", "-pts", "20", "-ppc", "20"]),
        ("echoscu-abort", ["echoscu", "--abort"]),
        ("storescu", ["storescu", "-R"]),
        ("storescu-4k", ["storescu", "-R", "-pdu", "4096", "--max-send-pdu", "4096"]),
        ("storescu-repeat", ["storescu", "-R", "--repeat", "3"]),
        ("storescu-abort", ["storescu", "-R", "--abort"]),
        ("storescu-all-contexts", ["storescu"]),
        ("dcmsend", ["dcmsend"]),
    ):
        if shutil.which(arguments[0]) is None:
            continue
        sent = [] if arguments[0] == "echoscu" else several
        yield name, lambda port, arguments=arguments, sent=sent: _program(arguments, port, sent)
    for syntax, option in SYNTAXES.items():
        if shutil.which("storescu") is not None and option:
            each = [str(files["each"] / f"{syntax}.dcm")]
            yield (
                f"storescu-{syntax}",
                lambda port, option=option, each=each: _program(["storescu", "-R", option], port, each),
            )
    if shutil.which("dcmsend") is not None:
        each = [str(path) for path in sorted(files["each"].glob("*.dcm"))]
        yield "dcmsend-each-syntax", lambda port: _program(["dcmsend"], port, each)
        large = [str(path) for path in sorted(files["large"].glob("*.dcm"))]
        yield "dcmsend-large", lambda port: _program(["dcmsend", "--max-send-pdu", "16384"], port, large)
        yield "storescu-large", lambda port: _program(["storescu", "-R", "--max-send-pdu", "131072"], port, large)


def _program(arguments: list[str], port: int, files: list[str]) -> None:
    """Its exit code is no matter: an abort that was asked for is a failure to some."""
    command = [*arguments, "-aec", "PIRTAD", "127.0.0.1", str(port), *files]
    subprocess.run(command, check=False, capture_output=True, timeout=_TIMEOUT_S)


def _own(directory: Path, port: int) -> None:
    outcome = send_directory(directory, "127.0.0.1", port, called_ae="PIRTAD", calling_ae="OWN")
    if outcome.failed or not outcome.files:
        raise RuntimeError(f"our own sender failed: {outcome.lost} {[one.problem for one in outcome.failed]}")


def _reports_commitment(port: int) -> None:
    """As a destination does that was asked to commit; to a request that nobody made."""
    references = {number: Reference(str(MRImageStorage), f"{STUDY}.2.{number}") for number in (1, 2)}
    report = Report("1.2.3.4", (references[1],), {references[2]: 0x0112})
    entity = _entity((StorageCommitmentPushModel, IMPLICIT))
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    association = entity.associate("127.0.0.1", port, ae_title="PIRTAD", ext_neg=[role])
    connection = association.dul.socket.socket
    association.send_n_event_report(
        report_dataset(report), report.event_type, StorageCommitmentPushModel, UID(PUSH_MODEL_INSTANCE)
    )
    association.release()
    association.join(_TIMEOUT_S)
    connection.close()


def _entity(*contexts: tuple[UID | str, object]) -> AE:
    entity = AE("PYNETDICOM")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
    for abstract_syntax, syntaxes in contexts:
        entity.add_requested_context(abstract_syntax, syntaxes)
    return entity


def _pynetdicom_stores(port: int, *, aborts: bool = False) -> None:
    entity = _entity((MRImageStorage, [IMPLICIT, ExplicitVRLittleEndian]), (Verification, IMPLICIT))
    with associated(entity, port) as association:
        association.send_c_echo()
        for number in (1, 2):
            association.send_c_store(image(number, pixels=bytes(200)))
        if aborts:
            association.abort()


def _echoes(port: int) -> None:
    with associated(_entity((Verification, [IMPLICIT, ExplicitVRLittleEndian])), port) as association:
        association.send_c_echo()


def _asks_for_commitment(port: int) -> None:
    """Of an image it has just stored, and of one that nobody has; takes the report on the same association."""
    entity = _entity((StorageCommitmentPushModel, IMPLICIT), (MRImageStorage, ExplicitVRLittleEndian))
    told = threading.Event()

    def take(_event: evt.Event) -> tuple[int, None]:
        told.set()
        return 0x0000, None

    association = entity.associate("127.0.0.1", port, ae_title="PIRTAD", evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    connection = association.dul.socket.socket
    association.send_c_store(image(1, pixels=bytes(40)))
    request = Request("1.2.3.4", tuple(Reference(str(MRImageStorage), f"{STUDY}.2.{number}") for number in (1, 99)))
    association.send_n_action(request_dataset(request), 1, StorageCommitmentPushModel, UID(PUSH_MODEL_INSTANCE))
    told.wait(_TIMEOUT_S)
    association.release()
    association.join(_TIMEOUT_S)
    connection.close()
