"""Real associations with a real listener on 127.0.0.1."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import threading
from io import BytesIO

import pytest
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import EnhancedMRImageStorage, Verification
from sqlalchemy.exc import OperationalError
from support.receiving import PATIENT, STUDY, encoded, image, running_listener, store_bytes

from pirtad.daemon import registrar as registrar_module
from pirtad.daemon.errors import ListenerNotReady
from pirtad.daemon.landing import Landing
from pirtad.daemon.listener import Listener
from pirtad.worker.ledger import views
from pirtad.worker.settings import ListenerSettings


@pytest.fixture
def running(tmp_path):
    with running_listener(tmp_path) as running:
        yield running


def _kinds(running):
    return [notice.kind for notice in views.notices(running.database)]


def _stopped(running):
    """Its associations have ended and said what they had to say."""
    running.listener.stop(10)
    assert running.side.registrar.flush(10)
    return running


def test_an_echo_is_answered_and_is_no_empty_association(running):
    with running.association(contexts=((Verification, ImplicitVRLittleEndian),)) as association:
        assert association.send_c_echo().Status == 0x0000
    assert _kinds(_stopped(running)) == []


def test_a_stored_image_is_on_disk_when_success_is_answered_and_then_in_the_ledger(running):
    with running.association() as association:
        assert association.send_c_store(image()).Status == 0x0000
        # Then it is on disk, and a moment later at its place
        (file,) = running.files()
        assert file.read_bytes().endswith(encoded(image()))
        (row,) = running.rows()
        assert [running.data_dir / row.path] == running.files()
        assert (row.calling_ae, row.received_at) == ("SCANNER", running.clock.now)
    assert _kinds(_stopped(running)) == []


@pytest.mark.parametrize(
    ("syntax", "how"),
    [
        (ImplicitVRLittleEndian, {"implicit": True}),
        (ExplicitVRLittleEndian, {}),
        (ExplicitVRBigEndian, {"little": False}),
        (DeflatedExplicitVRLittleEndian, {"deflated": True}),
        (JPEG2000Lossless, {}),
        (RLELossless, {}),
    ],
)
def test_bytes_are_kept_untouched_in_every_transfer_syntax(running, syntax, how):
    data = encoded(image(), **how)
    with running.association(contexts=((MRImageStorage, syntax),)) as association:
        assert store_bytes(association, data) == 0x0000
    (row,) = running.rows()
    assert row.transfer_syntax_uid == syntax
    assert (running.data_dir / row.path).read_bytes().endswith(data)


def test_any_storage_class_is_accepted_and_jpip_is_not(running):
    classes = (MRImageStorage, EnhancedMRImageStorage, CTImageStorage, SecondaryCaptureImageStorage)
    contexts = tuple((uid, ExplicitVRLittleEndian) for uid in classes)
    with running.association(contexts=(*contexts, (MRImageStorage, "1.2.840.10008.1.2.4.94"))) as association:
        assert {context.abstract_syntax for context in association.accepted_contexts} == set(classes)
        assert [context.transfer_syntax[0] for context in association.rejected_contexts] == ["1.2.840.10008.1.2.4.94"]


@pytest.mark.parametrize(
    ("data", "command", "status"),
    [
        (encoded(image())[:100], {}, 0xC000),
        (b"junk that is no dataset!", {}, 0xC000),
        (encoded(image()), {"sop_class_uid": CTImageStorage}, 0xA900),
        (encoded(image()), {"sop_instance_uid": "1.2.3"}, 0xA900),
        (encoded(image()), {"sop_instance_uid": "../../etc/passwd"}, 0xA900),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_bad_input_is_refused_and_the_association_goes_on(running, data, command, status):
    with running.association() as association:
        assert store_bytes(association, data, **command) == status
        assert running.rows() == []
        assert [path.read_bytes() for path in running.files("quarantine") if path.suffix == ".dataset"] == [data]
        assert store_bytes(association, encoded(image())) == 0x0000
    assert _kinds(_stopped(running)) == ["refused"]


def test_while_the_ledger_fails_no_further_image_is_taken_and_none_is_lost(running, monkeypatch):
    def fails(*_, **__):
        raise OperationalError("INSERT", {}, Exception("database is locked"))

    with running.association() as association:
        monkeypatch.setattr(registrar_module.registering, "register_all", fails)
        # The first is safe in the spool before the trouble is known; then it is known
        assert association.send_c_store(image(1)).Status == 0x0000
        assert not running.side.registrar.flush(0.3)
        assert association.send_c_store(image(2)).Status == 0xA700
        monkeypatch.undo()
        assert {row.sop_instance_uid for row in running.rows()} == {f"{STUDY}.2.1"}
        assert association.send_c_store(image(2)).Status == 0x0000
    assert len(running.rows()) == 2


def test_a_full_disk_is_answered_with_out_of_resources(running, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with running.association() as association:
        monkeypatch.setattr(Landing, "write", full)
        assert association.send_c_store(image()).Status == 0xA700
        monkeypatch.undo()
        assert association.send_c_store(image()).Status == 0x0000
    assert len(running.rows()) == 1


def test_a_duplicate_and_a_conflict_are_success(running):
    with running.association() as association:
        statuses = [association.send_c_store(it).Status for it in (image(), image(), image(pixels=b"\x05\x05" * 500))]
    assert statuses == [0, 0, 0]
    assert len(running.rows()) == 2
    assert views.studies(running.database)[0].duplicates == 1


def test_a_conflict_can_be_refused(tmp_path):
    with running_listener(tmp_path, conflicting_images="refuse") as running, running.association() as association:
        assert association.send_c_store(image()).Status == 0x0000
        assert len(running.rows()) == 1
        assert association.send_c_store(image(pixels=b"\x05\x05" * 500)).Status == 0x0111
        assert association.send_c_store(image()).Status == 0x0000
        assert len(running.rows()) == 1


def test_two_senders_at_once_lose_nothing(running):
    statuses = []

    def send(numbers):
        with running.association() as association:
            statuses.extend(association.send_c_store(image(number)).Status for number in numbers)

    threads = [threading.Thread(target=send, args=(numbers,)) for numbers in (range(1, 16), range(16, 31))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 30
    assert len({row.sop_instance_uid for row in running.rows()}) == 30


def test_an_association_that_sends_nothing_is_told_of(running):
    with running.association() as association:
        assert association.is_established
    (notice,) = views.notices(_stopped(running).database)
    assert notice.kind == "empty_association"
    assert "SCANNER" in notice.text
    assert "1 of 1 presentation contexts accepted" in notice.text


def test_explicit_vr_is_chosen_where_a_sender_offers_a_choice(running):
    offered = [JPEG2000Lossless, ImplicitVRLittleEndian, ExplicitVRLittleEndian]
    with running.association(contexts=((MRImageStorage, offered),)) as association:
        assert association.accepted_contexts[0].transfer_syntax == [ExplicitVRLittleEndian]


def test_an_association_of_unknown_contexts_alone_says_so(running):
    with running.association(contexts=((MRImageStorage, "1.2.840.10008.1.2.4.94"),)) as association:
        assert association.accepted_contexts == []
    notices = views.notices(_stopped(running).database)
    assert [notice.kind for notice in notices] == ["association_aborted"]  # pynetdicom's sender aborts by itself


def test_an_association_aborted_in_mid_dataset_is_told_of(running):
    with running.association() as association:
        assert association.send_c_store(image(1)).Status == 0x0000
        # When the first fragment of a second image was sent, and then an A-ABORT
        _send_begun_message(association)
        association.abort()
    (notice,) = views.notices(_stopped(running).database)
    assert notice.kind == "association_aborted"
    assert "in the middle of a message; 1 images received" in notice.text
    # Then the first image is there, and no half of the second
    assert len(running.files()) == 1
    assert running.files("quarantine") == []


def _send_begun_message(association) -> None:
    request = C_STORE()
    request.MessageID, request.Priority = 2, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MRImageStorage, f"{STUDY}.2.2"
    request.DataSet = BytesIO(encoded(image(2)))
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    command, *data = list(message.encode_msg(association.accepted_contexts[0].context_id, 500))
    association.dul.send_pdu(command)
    association.dul.send_pdu(data[0])


def test_a_port_check_is_no_event_and_takes_no_place(tmp_path):
    with running_listener(tmp_path, max_associations=1) as running:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", running.port)) as check:
                check.shutdown(socket.SHUT_WR)
                assert check.recv(1) == b""  # closed by the listener, so it knows of the end
        # Then there is place, and nothing to tell
        with running.association(contexts=((Verification, ImplicitVRLittleEndian),)) as association:
            assert association.send_c_echo().Status == 0x0000
        assert _kinds(_stopped(running)) == []


@pytest.mark.parametrize("sent", [b"", b"\x01\x00\x00\x00\x10\x00half", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_peer_that_stops_in_mid_message_is_cut_off(tmp_path, sent):
    with (
        running_listener(tmp_path, network_timeout_s=1, acse_timeout_s=1) as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=10) as peer,
    ):
        peer.sendall(sent)
        received = peer.recv(4096)  # an A-ABORT, or nothing: but the end of the connection, and within its timeout
        while received:
            assert received[0] == 0x07
            received = peer.recv(4096)


def test_only_those_who_know_our_title_and_are_known_are_let_in(tmp_path):
    with running_listener(tmp_path, allowed_calling_ae_titles=("SCANNER",)) as running:
        with running.association(called="OTHER") as association:
            assert association.is_rejected
        with running.association(calling="STRANGER") as association:
            assert association.is_rejected
        with running.association() as association:
            assert association.send_c_store(image()).Status == 0x0000
        notices = views.notices(_stopped(running).database)
    assert [notice.kind for notice in notices] == ["association_rejected", "association_rejected"]
    assert "it calls OTHER, we are PIRTAD" in notices[-1].text
    assert "STRANGER" in notices[0].text


def test_more_associations_than_allowed_are_rejected(tmp_path):
    with running_listener(tmp_path, max_associations=1) as running:
        with running.association() as first, running.association() as second:
            assert first.is_established
            assert second.is_rejected
        notices = views.notices(_stopped(running).database)
    assert "listener.max_associations" in notices[-1].text


def test_stop_lets_a_sender_finish_and_takes_no_new_one(running):
    with running.association() as association:
        stopping = threading.Thread(target=running.listener.stop, args=(10,))
        stopping.start()
        assert association.send_c_store(image()).Status == 0x0000
    stopping.join(10)
    assert not stopping.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port))


def test_stop_aborts_a_sender_that_does_not_finish(tmp_path):
    with running_listener(tmp_path, grace_s=0) as running, running.association() as association:
        running.listener.stop(0)
        association.join(10)
        assert association.is_aborted


def test_start_says_that_the_port_is_taken(running):
    second = Listener(ListenerSettings(port=running.port), running.side.receiver, running.side.notices)
    with pytest.raises(ListenerNotReady, match=str(running.port)):
        second.start()


def test_a_huge_request_for_an_association_is_answered(running):
    # 128 contexts of several transfer syntaxes each: as many as a request can hold (PS3.8 section 9.3.2.2)
    syntaxes = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless]
    contexts = tuple((MRImageStorage, syntaxes[: 1 + number % 4]) for number in range(128))
    with running.association(contexts=contexts) as association:
        assert association.is_established
        assert association.send_c_store(image()).Status == 0x0000


def test_dcmtk_sends(running, tmp_path_factory):
    storescu = shutil.which("storescu", path="/usr/bin:/usr/local/bin")  # the venv's is pynetdicom's
    if storescu is None:
        pytest.skip("DCMTK's storescu is not on this machine")
    folder = tmp_path_factory.mktemp("dcm")
    for number in range(1, 11):
        image(number).save_as(folder / f"{number}.dcm", enforce_file_format=True)
    subprocess.run(
        [storescu, "-aec", "PIRTAD", "-aet", "DCMTK", "+sd", "127.0.0.1", str(running.port), str(folder)],
        check=True, capture_output=True, timeout=60, env={**os.environ, "TCP_NODELAY": "1"},
    )  # fmt: skip
    rows = running.rows()
    assert len({row.sop_instance_uid for row in rows}) == 10
    assert {row.calling_ae for row in rows} == {"DCMTK"}


def test_nothing_of_the_patient_is_logged(running, caplog):
    caplog.set_level("DEBUG")
    with running.association() as association:
        association.send_c_store(image())
        store_bytes(association, encoded(image())[:100])
    assert PATIENT not in caplog.text
