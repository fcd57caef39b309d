"""The DICOM listener: a port, and a thread for each connection (`pirtad.daemon.association`)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog
from pynetdicom import AE, _config
from pynetdicom.sop_class import Verification

from pirtad.daemon.association import Association, Services
from pirtad.daemon.commitment import Committer
from pirtad.daemon.errors import SUCCESS, ListenerNotReady
from pirtad.daemon.limits import Places, Rate
from pirtad.daemon.notices import Notices
from pirtad.daemon.receiver import Receiver
from pirtad.daemon.wire import Wire
from pirtad.worker.requestor import keep_answers
from pirtad.worker.settings import ListenerSettings

log = structlog.get_logger(__name__)

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_BACKLOG = 128
_ECHOES = 3  # chosen: the echo is pynetdicom's, and on a busy machine may fail for reasons of its own
_ABORT_S = 2.0  # chosen: time for a peer to take an A-ABORT before its connection is cut
_PAUSE_S = 0.1  # after an accept(2) that failed, e.g. for want of descriptors


class Listener:
    """A running DICOM acceptor. `start` and `stop` are each called once, by one thread."""

    def __init__(
        self, settings: ListenerSettings, receiver: Receiver, notices: Notices, committer: Committer | None = None
    ) -> None:
        self._settings = settings
        places = Places(settings.max_associations, settings.max_associations_per_peer, time.monotonic)
        rate = Rate(settings.max_images_per_s, time.monotonic)
        self._services = Services(settings, receiver, notices, places, rate, committer)
        self._committer = committer
        self._socket: socket.socket | None = None
        self._is_stopping = threading.Event()
        self._accepting = threading.Thread(target=self._accept, name="acceptor", daemon=True)
        self._changed = threading.Condition()
        self._associations: set[Association] = set()

    def start(self) -> None:
        """Returns once the port answers a C-ECHO; `ListenerNotReady` if it can't be bound or does not answer."""
        # pynetdicom's own handlers print associations and command sets.
        _config.LOG_HANDLER_LEVEL = "none"
        address = (self._settings.host, self._settings.port)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._socket.close()
            raise ListenerNotReady(f"can't listen on {address[0]} port {address[1]}: {error.strerror}") from error
        self._accepting.start()
        if not any(self._answers() for _ in range(_ECHOES)):
            self.stop(grace_s=0)
            raise ListenerNotReady(f"{address[0]} port {address[1]} is bound and does not answer a C-ECHO")
        self.wait_until_idle(_ABORT_S)  # our own C-ECHO must not take the place of a first sender
        log.info("listening", host=address[0], port=address[1], ae_title=self._settings.ae_title)

    def stop(self, grace_s: float) -> None:
        """Accept no more, let associations end by themselves for so long, abort the rest."""
        if self._socket is None or self._is_stopping.is_set():
            return
        self._is_stopping.set()
        if self._committer is not None:
            self._committer.stop()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept(2)
        if self._accepting.ident is not None:
            self._accepting.join()
        self._socket.close()
        if self.wait_until_idle(grace_s):
            return
        with self._changed:
            left = list(self._associations)
        for association in left:
            association.abort()
        self.wait_until_idle(_ABORT_S)

    def wait_until_idle(self, within_s: float) -> bool:
        """Whether no connection is open, now or within that time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._associations, within_s)

    def _accept(self) -> None:
        assert self._socket is not None
        while not self._is_stopping.is_set():
            try:
                connection, address = self._socket.accept()
            except OSError as error:
                if not self._is_stopping.is_set():
                    log.error("can't accept a connection", error=error.strerror)
                    self._is_stopping.wait(_PAUSE_S)
                continue
            try:
                self._open(connection, str(address[0]))
            except (OSError, RuntimeError) as error:  # it closed meanwhile; no thread can be started
                log.error("connection not taken", address=str(address[0]), error=type(error).__name__)
                connection.close()

    def _open(self, connection: socket.socket, address: str) -> None:
        wire = Wire(connection)
        association: list[Association] = []
        place = self._services.places.enter(address, evict=_later(association))
        if place is None:
            log.debug("connection refused: too many from there", address=address)
            connection.close()
            return
        association.append(Association(wire, place, self._services))
        thread = threading.Thread(target=self._run, args=association, name=f"association {address}", daemon=True)
        with self._changed:
            self._associations.add(association[0])
        try:
            thread.start()
        except RuntimeError:
            self._services.places.leave(place)
            self._forget(association[0])
            raise

    def _run(self, association: Association) -> None:
        try:
            association.run()
        finally:
            self._forget(association)

    def _forget(self, association: Association) -> None:
        with self._changed:
            self._associations.discard(association)
            self._changed.notify_all()

    def _answers(self) -> bool:
        """Whether our own port answers a C-ECHO from a peer that we let in."""
        settings = self._settings
        allowed = settings.allowed_calling_ae_titles
        entity = AE(allowed[0] if allowed else settings.ae_title)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = settings.acse_timeout_s
        entity.add_requested_context(Verification)
        host = _ANY_ADDRESS.get(settings.host, settings.host)
        association = entity.associate(host, settings.port, ae_title=settings.ae_title)
        if not association.is_established:
            return False
        keep_answers(association)
        try:
            return bool(association.send_c_echo().get("Status") == SUCCESS)
        except RuntimeError:  # it ended in between
            return False
        finally:
            association.release()


def _later(association: list[Association]) -> Callable[[], None]:
    """Ends the association that will be in the list: it needs its place first."""

    def evict() -> None:
        for one in association:
            one.abort()

    return evict
