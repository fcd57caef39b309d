"""The protocol, as peers send it that keep to it and that don't: hand-made PDUs to a real listener."""

from __future__ import annotations

import socket
import struct

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation
from support.raw_peer import (
    ABORT,
    ABORT_PDU,
    ASSOCIATE_AC,
    ECHO,
    MR,
    RELEASE_RP,
    RELEASE_RQ,
    associate_rq,
    command,
    p_data,
    pdv,
    raw_peer,
    store,
    store_command,
)
from support.receiving import STUDY, encoded, image, running_listener

from pirtad.worker.ledger import views

IMAGE = encoded(image())
C_ECHO = command(0x0030, 7, "1.2.840.10008.1.1")
C_CANCEL = command(0x0FFF, 1)


@pytest.fixture
def running(tmp_path):
    with running_listener(tmp_path) as running:
        yield running


@pytest.fixture
def peer(running):
    with raw_peer(running.port) as peer:
        yield peer.associate()


def _stored(running):
    return [(running.data_dir / row.path).read_bytes() for row in running.rows()]


def _is_aborted(peer):
    """An A-ABORT, and then the end of the connection."""
    pdu = peer.read()
    return pdu is not None and pdu[0] == ABORT and peer.read() is None


def test_a_message_in_the_smallest_pieces(running, peer):
    # Given the command set in PDUs of one PDV of one byte, and the dataset so too
    whole = store_command(f"{STUDY}.2.1")
    for index in range(len(whole)):
        peer.send(p_data(pdv(whole[index : index + 1], is_command=True, is_last=index == len(whole) - 1)))
    for index in range(len(IMAGE)):
        peer.send(p_data(pdv(IMAGE[index : index + 1], is_last=index == len(IMAGE) - 1)))
    # Then it is an image like any other
    assert peer.status() == 0x0000
    assert _stored(running)[0].endswith(IMAGE)


def test_command_and_dataset_in_one_pdu_and_empty_fragments(running, peer):
    whole = store_command(f"{STUDY}.2.1")
    peer.send(
        p_data(
            pdv(whole[:10], is_command=True, is_last=False), pdv(whole[10:], is_command=True),
            pdv(b"", is_last=False), pdv(IMAGE[:100], is_last=False), pdv(IMAGE[100:], is_last=False), pdv(b""),
        )
    )  # fmt: skip
    assert peer.status() == 0x0000
    assert _stored(running)[0].endswith(IMAGE)


def test_echo_and_cancel_between_images(running, peer):
    peer.send(store(IMAGE), p_data(pdv(C_CANCEL, is_command=True)))
    assert peer.status() == 0x0000
    peer.send(p_data(pdv(C_ECHO, context=ECHO, is_command=True)))
    answer = peer.answer()
    assert (answer[0x0900], answer[0x0120], answer[0x0100]) == (0x0000, 7, 0x8030)
    peer.send(store(encoded(image(2)), 2))
    assert peer.status() == 0x0000
    peer.send(RELEASE_RQ)
    assert peer.read()[0] == RELEASE_RP
    assert len(running.rows()) == 2


def test_requests_sent_ahead_are_answered_in_turn(running, peer):
    peer.send(*(store(encoded(image(number)), number) for number in (1, 2, 3)), RELEASE_RQ)
    assert [peer.status() for _ in range(3)] == [0, 0, 0]
    assert peer.read()[0] == RELEASE_RP
    assert len(running.rows()) == 3


def test_an_asynchronous_window_is_not_granted(running):
    with raw_peer(running.port) as peer:
        peer.send(associate_rq(window=8))
        pdu_type, body = peer.read()
        assert pdu_type == ASSOCIATE_AC
        accepted = A_ASSOCIATE_AC()
        accepted.decode(struct.pack(">BxI", pdu_type, len(body)) + body)
        items = accepted.to_primitive().user_information
        assert items
        assert not [item for item in items if isinstance(item, AsynchronousOperationsWindowNegotiation)]


def test_answers_keep_to_the_peers_pdu_length(running):
    with raw_peer(running.port) as peer:
        peer.send(associate_rq(max_pdu_bytes=50))
        assert peer.read()[0] == ASSOCIATE_AC
        peer.send(p_data(pdv(C_ECHO, context=ECHO, is_command=True)))
        parts, is_last = [], False
        while not is_last:
            _, body = peer.read()
            assert len(body) <= 50
            is_last = bool(body[5] & 0x02)
            parts.append(body[6:])
        assert len(parts) > 1
        assert b"".join(parts)[-2:] == b"\0\0"  # the status


@pytest.mark.parametrize(
    ("request_set", "context", "dataset", "status"),
    [
        (command(0x0020, 1, "1.2.840.10008.5.1.4.1.2.2.1", has_dataset=True), MR, IMAGE, 0x0211),  # C-FIND
        (command(0x0130, 1, "1.2.840.10008.1.1", "1.2"), ECHO, None, 0x0211),  # N-ACTION
        (command(0x0001, 1, "1.2.840.10008.1.1", "1.2", has_dataset=True), ECHO, IMAGE, 0x0122),  # an image as an echo
        (command(0x0001, 1, "1.2.840.10008.5.1.4.1.1.4", f"{STUDY}.2.1"), MR, None, 0xC000),  # an image without any
    ],
)
def test_what_is_no_image_is_answered_and_the_association_goes_on(running, peer, request_set, context, dataset, status):
    peer.send(p_data(pdv(request_set, context=context, is_command=True)))
    if dataset is not None:
        peer.send(p_data(pdv(dataset, context=context)))
    assert peer.status() == status
    peer.send(store(IMAGE))
    assert peer.status() == 0x0000
    assert len(running.rows()) == 1


@pytest.mark.parametrize(
    ("sop_class_uid", "sop_instance_uid"),
    [(CTImageStorage, f"{STUDY}.2.1"), ("1.2.840.10008.5.1.4.1.1.4", "1.2.3"), ("1.2.840.10008.5.1.4.1.1.4", "../../x"),
     ("1.2.840.10008.5.1.4.1.1.4", "1." * 40 + "1"), ("", "")],
)  # fmt: skip
def test_a_command_that_says_something_else_is_refused(running, peer, sop_class_uid, sop_instance_uid):
    request = command(0x0001, 1, sop_class_uid, sop_instance_uid, has_dataset=True)
    peer.send(p_data(pdv(request, is_command=True)), p_data(pdv(IMAGE)))
    assert peer.status() == 0xA900
    assert running.rows() == []
    assert running.files() == []
    (kept,) = [path for path in running.files("quarantine") if path.suffix == ".dataset"]
    assert kept.read_bytes() == IMAGE


BEGUN = p_data(pdv(store_command(f"{STUDY}.2.1"), is_command=True))


@pytest.mark.parametrize(
    "sent",
    [
        p_data(pdv(IMAGE)),  # a dataset without a command
        p_data(pdv(C_ECHO, context=99, is_command=True)),  # a context that was not accepted
        BEGUN + p_data(pdv(C_ECHO, context=ECHO, is_command=True)),  # a command in the middle of a dataset
        BEGUN + p_data(pdv(C_CANCEL, is_command=True)),
        BEGUN + p_data(pdv(IMAGE, context=ECHO)),  # a dataset that changes its context
        p_data(pdv(C_ECHO[:20], is_command=True, is_last=False), pdv(IMAGE)),  # a dataset inside a command
        p_data(pdv(command(0x8001, 1), is_command=True)),  # an answer to nothing
        p_data(pdv(b"no command set at all", is_command=True)),
        p_data(pdv(b"\0" * 20_000, is_command=True, is_last=False)),  # a command set without end
        p_data(),  # no PDV
        p_data(b"\0\0\0\x01\x01"),  # a PDV shorter than its header
        p_data(struct.pack(">IBB", 2**32 - 1, MR, 3)),  # a PDV longer than its PDU
        struct.pack(">BxI", 0x04, 131073),  # longer than we said
        struct.pack(">BxI", 0x04, 2**32 - 1),
        struct.pack(">BxI", 0x99, 4),  # no PDU
        associate_rq(),  # a second request
        b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00",  # a release we did not ask for
    ],
)
def test_what_is_not_the_protocol_ends_the_association_and_leaves_nothing(running, peer, sent):
    peer.send(sent)
    assert _is_aborted(peer)
    running.listener.stop(10)
    assert running.rows() == []
    assert running.files() == []
    assert [notice.kind for notice in views.notices(running.database)] == ["association_aborted"]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">BxI", 0x01, 2**32 - 1) + bytes(100),
        struct.pack(">BxI", 0x01, 100) + bytes(100),
        p_data(pdv(C_ECHO, is_command=True)),
        RELEASE_RQ,
    ],
)
def test_what_is_no_request_for_an_association_is_aborted(running, sent):
    with raw_peer(running.port) as peer:
        peer.send(sent)
        assert _is_aborted(peer)


@pytest.mark.parametrize("how", ["abort", "release", "close", "reset"])
@pytest.mark.parametrize("sent", [BEGUN, BEGUN + p_data(pdv(IMAGE[:50], is_last=False)), BEGUN + b"\x04\x00\x00"])
def test_an_image_that_breaks_off_leaves_no_file(running, peer, how, sent):
    peer.send(store(encoded(image(9)), 9))
    assert peer.status() == 0x0000
    peer.send(sent)
    if how == "reset":
        peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how != "close":
        peer.send(ABORT_PDU if how == "abort" else RELEASE_RQ)
    peer.connection.close()
    running.listener.stop(10)
    assert len(running.rows()) == len(running.files()) == 1
    (notice,) = views.notices(running.database)
    assert "in the middle of a message" in notice.text
    assert "1 images received" in notice.text
