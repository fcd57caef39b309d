"""A DICOM peer that sends any bytes it likes: PDUs made by hand, on a plain socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from support.receiving import STUDY

MR, ECHO = 1, 3  # context ids
RELEASE_RQ = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
ABORT_PDU = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"
ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RP, ABORT = 2, 3, 4, 6, 7


def associate_rq(calling: str = "RAW", *, max_pdu_bytes: int = 16384, window: int = 1) -> bytes:
    """A-ASSOCIATE-RQ for MR images and C-ECHO, explicit VR little endian."""
    contexts = [build_context(MRImageStorage, ExplicitVRLittleEndian), build_context(Verification)]
    for context, context_id in zip(contexts, (MR, ECHO), strict=True):
        context.context_id = context_id
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = max_pdu_bytes, "1.2.3"
    operations = AsynchronousOperationsWindowNegotiation()
    operations.maximum_number_operations_invoked = operations.maximum_number_operations_performed = window
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, "PIRTAD"
    primitive.presentation_context_definition_list = contexts
    primitive.user_information = [length, implementation, *([operations] if window > 1 else [])]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def store_command(sop_instance_uid: str, *, sop_class_uid: str = MRImageStorage, message_id: int = 1) -> bytes:
    return command(0x0001, message_id, sop_class_uid, sop_instance_uid, has_dataset=True)


def command(
    field: int, message_id: int = 1, sop_class_uid: str = "", sop_instance_uid: str = "", *, has_dataset: bool = False
) -> bytes:
    """A command set (PS3.7 section 6.3.1)."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0, number, len(value)) + value

    body = element(0x0002, sop_class_uid.encode()) if sop_class_uid else b""
    body += element(0x0100, struct.pack("<H", field)) + element(0x0110, struct.pack("<H", message_id))
    body += element(0x0700, b"\0\0") + element(0x0800, struct.pack("<H", 1 if has_dataset else 0x0101))
    body += element(0x1000, sop_instance_uid.encode()) if sop_instance_uid else b""
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def pdv(data: bytes, *, context: int = MR, is_command: bool = False, is_last: bool = True) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context, is_command | is_last << 1) + data


def p_data(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return struct.pack(">BxI", P_DATA, len(body)) + body


def store(data: bytes, number: int = 1, *, fragment_bytes: int = 10_000) -> bytes:
    """A whole C-STORE of an image of `support.receiving.image`, as PDUs."""
    pdus = p_data(pdv(store_command(f"{STUDY}.2.{number}"), is_command=True))
    for position in range(0, len(data), fragment_bytes):
        part = data[position : position + fragment_bytes]
        pdus += p_data(pdv(part, is_last=position + fragment_bytes >= len(data)))
    return pdus


class RawPeer:
    """One end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(10)

    def send(self, *pdus: bytes) -> None:
        self.connection.sendall(b"".join(pdus))

    def read(self) -> tuple[int, bytes] | None:
        """(type, body) of the next PDU; None at the end of the connection."""
        try:
            header = self._exactly(6)
            return (header[0], self._exactly(struct.unpack(">I", header[2:])[0])) if header else None
        except ConnectionResetError:
            return None

    def associate(self, calling: str = "RAW") -> RawPeer:
        self.send(associate_rq(calling))
        answer = self.read()
        assert answer is not None
        assert answer[0] == ASSOCIATE_AC, answer
        return self

    def answer(self) -> dict[int, int]:
        """The numbers of the next response, by element: 0x0900 is the status, 0x0120 the message answered."""
        pdu = self.read()
        assert pdu is not None
        assert pdu[0] == P_DATA, pdu
        encoded, position, found = pdu[1][6:], 0, {}
        while position < len(encoded):
            _, element, length = struct.unpack_from("<HHI", encoded, position)
            if length == 2:
                (found[element],) = struct.unpack_from("<H", encoded, position + 8)
            position += 8 + length
        return found

    def status(self) -> int:
        return self.answer()[0x0900]

    def _exactly(self, number: int) -> bytes:
        data = b""
        while len(data) < number:
            part = self.connection.recv(number - len(data))
            if not part:
                return b""
            data += part
        return data


@contextmanager
def raw_peer(port: int, source: str = "127.0.0.1") -> Iterator[RawPeer]:
    """A connection from an address of the loopback network."""
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as connection:
        yield RawPeer(connection)
