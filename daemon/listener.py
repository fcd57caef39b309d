"""The DICOM listener: associations, C-ECHO and C-STORE. What is done with an instance is the receiver's business.

It offers every storage SOP class in every transfer syntax that carries the image with it. A dataset is handed on as
the bytes that came; nothing is decoded here.
"""

from __future__ import annotations

import contextlib
import socket
import time
import weakref
from typing import Any

import structlog
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, _config, build_context, evt
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_RELEASE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification
from pynetdicom.transport import ThreadedAssociationServer

from pirtad.daemon.errors import SUCCESS, ListenerNotReady
from pirtad.daemon.notices import Notices
from pirtad.daemon.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pirtad.daemon.peer import Peer, clean_ae_title
from pirtad.daemon.receiver import Receiver
from pirtad.daemon.spool import Arrival
from pirtad.worker.settings import ListenerSettings

log = structlog.get_logger(__name__)

# PS3.6 annex A: the JPIP and SMPTE ST 2110 syntaxes name a server or a flow that has the pixels, and do not send them.
_WITHOUT_PIXELS = tuple(f"1.2.840.10008.1.2.{end}" for end in ("4.94", "4.95", "4.204", "4.205", "7.1", "7.2", "7.3"))
# pynetdicom takes the first of these that the sender proposes, and implicit VR would lose the VRs of private elements,
# in which scanners keep b values and directions.
_TRANSFER_SYNTAXES = [
    ExplicitVRLittleEndian,
    *(uid for uid in ALL_TRANSFER_SYNTAXES if uid != ExplicitVRLittleEndian and uid not in _WITHOUT_PIXELS),
]
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_ABORT_S = 2.0  # chosen: time for a peer to take an A-ABORT before its connection is cut
_LOOK_S = 0.02  # how often stop() looks whether associations have ended


class Listener:
    """A running DICOM acceptor. `start` and `stop` are each called once, by one thread."""

    def __init__(self, settings: ListenerSettings, receiver: Receiver, notices: Notices) -> None:
        self._settings = settings
        self._receiver = receiver
        self._notices = notices
        self._peers: weakref.WeakKeyDictionary[Association, Peer] = weakref.WeakKeyDictionary()
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> None:
        """Returns once the port answers a C-ECHO; `ListenerNotReady` if it can't be bound or does not answer."""
        # pynetdicom's own handlers print associations and command sets; this must be chosen before the server exists.
        _config.LOG_HANDLER_LEVEL = "none"
        address = (self._settings.host, self._settings.port)
        try:
            self._server = self._make_entity().start_server(
                address, block=False, evt_handlers=self._handlers(), contexts=_supported_contexts()
            )
        except OSError as error:
            raise ListenerNotReady(f"can't listen on {address[0]} port {address[1]}: {error.strerror}") from error
        if not self._answers():
            self.stop(grace_s=0)
            raise ListenerNotReady(f"{address[0]} port {address[1]} is bound and does not answer a C-ECHO")
        _ended(self._server, _ABORT_S)  # our own C-ECHO must not take the place of a first sender
        log.info("listening", host=address[0], port=address[1], ae_title=self._settings.ae_title)

    def stop(self, grace_s: float) -> None:
        """Accept no more, let associations end by themselves for so long, abort the rest, cut what does not react."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.shutdown()
        if _ended(server, grace_s):
            return
        for association in server.active_associations:
            association.abort(block=False)
        if _ended(server, _ABORT_S):
            return
        for association in server.active_associations:
            if (peer := self._peers.get(association)) is not None:
                with contextlib.suppress(OSError):  # it may just have closed by itself
                    peer.connection.shutdown(socket.SHUT_RDWR)
        _ended(server, _ABORT_S)

    def _make_entity(self) -> AE:
        settings = self._settings
        entity = AE(settings.ae_title)
        entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.require_called_aet = settings.require_called_ae_title
        entity.require_calling_aet = list(settings.allowed_calling_ae_titles)
        entity.maximum_associations = settings.max_associations
        entity.maximum_pdu_size = settings.max_pdu_bytes
        entity.acse_timeout = settings.acse_timeout_s
        entity.dimse_timeout = settings.dimse_timeout_s
        entity.network_timeout = settings.network_timeout_s
        return entity

    def _handlers(self) -> list[tuple[Any, Any]]:
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_DATA_RECV, _acknowledge_at_once),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_ACSE_RECV, self._acse),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]

    # --- events, each in a thread of its association --------------------------------------------------------------

    def _opened(self, event: evt.Event) -> None:
        connection = event.assoc.dul.socket.socket
        # pynetdicom reads a PDU with blocking calls: without this a peer that stops in the middle of one would hold
        # its place for ever.
        connection.settimeout(self._settings.network_timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peers[event.assoc] = Peer(connection, address=str(event.address[0]))

    def _accepted(self, event: evt.Event) -> None:
        if (peer := self._peers.get(event.assoc)) is not None:
            peer.calling_ae = clean_ae_title(event.assoc.requestor.ae_title)
            peer.accepted_contexts = len(event.assoc.accepted_contexts)
            peer.proposed_contexts = peer.accepted_contexts + len(event.assoc.rejected_contexts)

    def _rejected(self, event: evt.Event) -> None:
        request = event.assoc.requestor.primitive
        calling, called = clean_ae_title(request.calling_ae_title), clean_ae_title(request.called_ae_title)
        allowed = [title.strip() for title in self._settings.allowed_calling_ae_titles]
        if self._settings.require_called_ae_title and called != self._settings.ae_title.strip():
            reason = f"it calls {called}, we are {self._settings.ae_title}"
        elif allowed and calling not in allowed:
            reason = "it is not in listener.allowed_calling_ae_titles"
        else:
            reason = f"{self._settings.max_associations} associations are open (listener.max_associations)"
        self._notices.note("association_rejected", f"association from {calling} rejected: {reason}")

    def _echo(self, event: evt.Event) -> int:
        if (peer := self._peers.get(event.assoc)) is not None:
            peer.echoes += 1
        return SUCCESS

    def _store(self, event: evt.Event) -> int:
        request = event.request
        status = self._receiver.receive(
            Arrival(
                encoded=request.DataSet.getvalue(),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                affected_sop_class_uid=str(request.AffectedSOPClassUID),
                affected_sop_instance_uid=str(request.AffectedSOPInstanceUID),
                calling_ae=clean_ae_title(event.assoc.requestor.ae_title),
            )
        )
        if (peer := self._peers.get(event.assoc)) is not None:
            peer.received += status == SUCCESS
            peer.refused += status != SUCCESS
        return status

    def _acse(self, event: evt.Event) -> None:
        # Seen before our answer to it is sent, so it is known by the time the connection closes.
        if isinstance(event.primitive, A_RELEASE) and (peer := self._peers.get(event.assoc)) is not None:
            peer.is_released = True

    def _closed(self, event: evt.Event) -> None:
        if event.assoc.requestor.primitive is None:
            # A port check. Its thread waits for an A-ASSOCIATE until acse_timeout_s, and holds a place so long; this
            # is what it gets when that time is over.
            event.assoc.dul.to_user_queue.put(None)
        peer = self._peers.pop(event.assoc, None)
        if peer is None:
            return
        peer.connection.close()  # pynetdicom leaves this to the garbage collector where the peer went away first
        if verdict := peer.verdict(is_cut_off=event.assoc.dimse.message is not None):
            self._notices.note(*verdict)

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
        try:
            return bool(association.send_c_echo().get("Status") == SUCCESS)
        finally:
            association.release()


class _SharedContexts(list[PresentationContext]):
    """pynetdicom copies these for each association and only reads them: 60 ms saved on each."""

    def __deepcopy__(self, memo: dict[int, object]) -> _SharedContexts:
        return self


def _supported_contexts() -> _SharedContexts:
    storage = (build_context(context.abstract_syntax, _TRANSFER_SYNTAXES) for context in AllStoragePresentationContexts)
    return _SharedContexts([build_context(Verification), *storage])


def _acknowledge_at_once(event: evt.Event) -> None:
    """Linux forgets TCP_QUICKACK again and again (tcp(7)), so it is set after every PDU.

    Senders that leave Nagle's algorithm on, DCMTK among them, else wait 40 ms for our ACK in every image.
    """
    with contextlib.suppress(OSError, AttributeError):  # closed meanwhile, or a system without the option
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _ended(server: ThreadedAssociationServer, within_s: float) -> bool:
    """Whether every association of the server ended within that time."""
    deadline = time.monotonic() + within_s
    # Not joined: one whose thread is just being started can't be.
    while server.active_associations and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    return not server.active_associations
