"""Association negotiation: pynetdicom's rules, on PDUs (PS3.8 sections 7.1 and 9.3).

It offers every storage SOP class in every transfer syntax that carries the image with it, C-ECHO, and storage
commitment in either role: senders ask us, and our destinations answer us.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor
from pynetdicom.sop_class import Verification

from pirtad.daemon.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pirtad.daemon.peer import clean_ae_title
from pirtad.worker.commitment import PUSH_MODEL
from pirtad.worker.settings import ListenerSettings

# Chosen: 128 contexts with forty transfer syntaxes each take about 400 kB.
MAX_REQUEST_BYTES = 2**20
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 annex A.2.1
# PS3.6 annex A: the JPIP and SMPTE ST 2110 syntaxes name a server or a flow that has the pixels, and do not send them.
_WITHOUT_PIXELS = tuple(f"1.2.840.10008.1.2.{end}" for end in ("4.94", "4.95", "4.204", "4.205", "7.1", "7.2", "7.3"))
# pynetdicom takes the first of these that the sender proposes, and implicit VR would lose the VRs of private elements,
# in which scanners keep b values and directions.
_TRANSFER_SYNTAXES = [
    ExplicitVRLittleEndian,
    *(uid for uid in ALL_TRANSFER_SYNTAXES if uid != ExplicitVRLittleEndian and uid not in _WITHOUT_PIXELS),
]


class BadRequest(ValueError):
    """Not an A-ASSOCIATE-RQ."""


@dataclass(frozen=True, slots=True)
class Request:
    """An association that is asked for."""

    calling_ae: str
    called_ae: str
    primitive: A_ASSOCIATE

    @property
    def max_pdu_bytes(self) -> int:
        """Longest P-DATA-TF the peer takes; 0: any."""
        return int(self.primitive.maximum_length_received or 0)


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str

    @property
    def is_storage(self) -> bool:
        """Whether images come in it."""
        return self.abstract_syntax not in (str(Verification), PUSH_MODEL)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why there is no association: PS3.8 table 9-21, and for the operator in words."""

    result: int
    source: int
    reason: int
    text: str

    def pdu(self) -> bytes:
        """The A-ASSOCIATE-RJ."""
        primitive = A_ASSOCIATE()
        primitive.result, primitive.result_source, primitive.diagnostic = self.result, self.source, self.reason
        pdu = A_ASSOCIATE_RJ()
        pdu.from_primitive(primitive)
        return bytes(pdu.encode())


def read_request(body: memoryview) -> Request:
    """The request in an A-ASSOCIATE-RQ's body; `BadRequest` if it is none."""
    pdu = A_ASSOCIATE_RQ()
    try:
        pdu.decode(bytes((0x01, 0)) + len(body).to_bytes(4, "big") + bytes(body))
        primitive = pdu.to_primitive()
        called, calling = str(primitive.called_ae_title), str(primitive.calling_ae_title)
    except Exception as error:  # a boundary: any bytes may come, and pynetdicom does not say what reading them raises
        raise BadRequest(type(error).__name__) from error
    return Request(clean_ae_title(calling), clean_ae_title(called), primitive)


def who_may_not(request: Request, settings: ListenerSettings) -> Rejection | None:
    """Why this peer is not let in, or None."""
    allowed = [title.strip() for title in settings.allowed_calling_ae_titles]
    if settings.require_called_ae_title and request.called_ae != settings.ae_title.strip():
        return Rejection(1, 1, 7, f"it calls {request.called_ae}, we are {settings.ae_title}")
    if allowed and request.calling_ae not in allowed:
        return Rejection(1, 1, 3, "it is not in listener.allowed_calling_ae_titles")
    return None


def no_place(setting: str) -> Rejection:
    """Transient, local limit exceeded."""
    return Rejection(2, 3, 2, f"no more associations are taken (listener.{setting})")


def accept(request: Request, max_pdu_bytes: int) -> tuple[bytes, dict[int, Context]]:
    """(A-ASSOCIATE-AC, accepted contexts by id). `BadRequest` if the request holds what can't be answered.

    An asynchronous operations window is not answered, which means 1: one image at a time (PS3.7 section D.3.3.3).
    """
    primitive = request.primitive
    try:
        proposed = primitive.presentation_context_definition_list
        # Only what was proposed: pynetdicom would look through the 170 storage classes for each context.
        supported = [_supported()[uid] for uid in {str(one.abstract_syntax) for one in proposed} & _supported().keys()]
        roles = {
            item.sop_class_uid: (item.scu_role, item.scp_role)
            for item in primitive.user_information
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
        }
        results, role_answers = negotiate_as_acceptor(proposed, supported, roles)
        pdu = A_ASSOCIATE_AC()
        pdu.from_primitive(_answer(primitive, results, role_answers, max_pdu_bytes))
        encoded = pdu.encode()
    except Exception as error:  # as above: what was read may hold values that pynetdicom can't answer
        raise BadRequest(type(error).__name__) from error
    return encoded, {
        int(one.context_id): Context(str(one.abstract_syntax), str(one.transfer_syntax[0]))
        for one in results
        if one.result == 0x00 and one.context_id is not None
    }


def _answer(
    request: A_ASSOCIATE,
    results: list[PresentationContext],
    roles: list[SCP_SCU_RoleSelectionNegotiation],
    max_pdu_bytes: int,
) -> A_ASSOCIATE:
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    answer = A_ASSOCIATE()
    answer.application_context_name = UID(_APPLICATION_CONTEXT)
    answer.calling_ae_title = request.calling_ae_title
    answer.called_ae_title = request.called_ae_title
    answer.result, answer.result_source = 0x00, 0x01
    answer.presentation_context_definition_results_list = results
    answer.user_information = [length, implementation, version, *roles]
    return answer


@cache
def _supported() -> dict[str, PresentationContext]:
    """By abstract syntax; pynetdicom only reads them."""
    storage = [build_context(context.abstract_syntax, _TRANSFER_SYNTAXES) for context in AllStoragePresentationContexts]
    commitment = build_context(PUSH_MODEL, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    commitment.scu_role = commitment.scp_role = True
    return {str(context.abstract_syntax): context for context in (build_context(Verification), commitment, *storage)}
