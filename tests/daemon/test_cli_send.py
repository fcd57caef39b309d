"""`pirtad send` against a real storage SCP on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, MRImageStorage
from pydicom.uid import SecondaryCaptureImageStorage as SecondaryCapture
from pynetdicom import AE, AllStoragePresentationContexts, evt
from typer.testing import CliRunner, Result

from pirtad.daemon.cli.main import app
from pirtad.daemon.cli.sending import dicom_files, send_directory

# pynetdicom 3.0.4 leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


class Peer:
    """What a peer took: the bytes of each data set by SOP Instance UID, and the contexts it was offered."""

    def __init__(self) -> None:
        self.port = 0
        self.stored: dict[str, bytes] = {}
        self.offered: list[list[tuple[str, str]]] = []


@contextmanager
def peer(
    *contexts: tuple[str, list[str]], status: Callable[[str], int] = lambda _uid: 0x0000, ae_title: str = "PIRTAD"
) -> Iterator[Peer]:
    taken = Peer()

    def requested(event: evt.Event) -> None:
        primitive = event.assoc.requestor.primitive
        definitions = primitive.presentation_context_definition_list
        taken.offered.append([(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in definitions])

    def store(event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        taken.stored[uid] = event.request.DataSet.getvalue()
        return status(uid)

    entity = AE(ae_title)
    entity.require_called_aet = True
    for sop_class, syntaxes in contexts:
        entity.add_supported_context(sop_class, syntaxes)
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_REQUESTED, requested)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        taken.port = server.server_address[1]
        yield taken
    finally:
        server.shutdown()


def write(path: Path, number: int, sop_class: str = MRImageStorage, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A small object; returns the encoded data set as it lies in the file."""
    dataset = Dataset()
    dataset.SOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = f"1.2.3.{number}"
    dataset.InstanceNumber = number
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    # The data set follows the group 2 elements, whose length (0002,0000) states.
    return content[144 + int.from_bytes(content[140:144], "little") :]


def pirtad_send(directory: Path, port: int, *options: str) -> Result:
    return CliRunner().invoke(app, ["send", str(directory), f"127.0.0.1:{port}", *options])


def test_every_dicom_file_is_sent_as_it_is_and_others_are_passed_over(tmp_path: Path) -> None:
    # Given files of one SOP class in two transfer syntaxes, in subfolders, and files that are no DICOM
    explicit = write(tmp_path / "a" / "1.dcm", 1)
    implicit = write(tmp_path / "b" / "without-ending", 2, syntax=ImplicitVRLittleEndian)
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "empty.dcm").touch()

    # When they go to a peer that would take many syntaxes
    both = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless]
    with peer((MRImageStorage, both)) as scp:
        result = pirtad_send(tmp_path, scp.port)

    # Then the bytes are the files', and no context was offered that no file needs
    assert result.exit_code == 0
    assert scp.stored == {"1.2.3.1": explicit, "1.2.3.2": implicit}
    assert [sorted(offered) for offered in scp.offered] == [
        [(MRImageStorage, ImplicitVRLittleEndian), (MRImageStorage, ExplicitVRLittleEndian)]
    ]
    assert "2 of 2 stored, 0 failed, 2 other files passed over" in result.stdout


def test_what_the_peer_refuses_is_listed_and_ends_with_1(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path / f"{number}.dcm", number)
    write(tmp_path / "capture.dcm", 4, SecondaryCapture)
    answers = {"1.2.3.1": 0x0000, "1.2.3.2": 0xA700, "1.2.3.3": 0xB007}

    with peer((MRImageStorage, [ExplicitVRLittleEndian]), status=answers.__getitem__) as scp:
        result = pirtad_send(tmp_path, scp.port)

    # A warning is stored (PS3.4 B.2.3); out of resources and an unknown class are not.
    assert result.exit_code == 1
    assert "2 of 4 stored, 2 failed" in result.stdout
    assert "1.2.3.2" in result.stderr
    assert "0xA700 (out of resources)" in result.stderr
    assert "does not take Secondary Capture Image Storage" in result.stderr
    assert "1.2.3.3" not in result.stderr


def test_no_association_ends_with_3(tmp_path: Path) -> None:
    write(tmp_path / "1.dcm", 1)
    with peer((MRImageStorage, [ExplicitVRLittleEndian]), ae_title="OTHER") as scp:
        rejected = pirtad_send(tmp_path, scp.port, "--calling", "CT1")
        port = scp.port
    closed = pirtad_send(tmp_path, port)

    assert (rejected.exit_code, closed.exit_code) == (3, 3)
    assert "rejects the association" in rejected.stderr
    assert "no association" in closed.stderr
    assert "0 of 1 stored" in closed.stdout


def test_titles_reach_the_peer(tmp_path: Path) -> None:
    write(tmp_path / "1.dcm", 1)
    with peer((MRImageStorage, [ExplicitVRLittleEndian]), ae_title="ARCHIVE") as scp:
        assert pirtad_send(tmp_path, scp.port).exit_code == 3
        assert pirtad_send(tmp_path, scp.port, "--called", "ARCHIVE").exit_code == 0


def test_more_contexts_than_one_association_holds(tmp_path: Path) -> None:
    # Given files of 129 SOP classes, and a peer that knows the first and the last of them
    classes = sorted(str(context.abstract_syntax) for context in AllStoragePresentationContexts)[:129]
    for number, sop_class in enumerate(classes):
        write(tmp_path / f"{number}.dcm", number, sop_class)

    with peer((classes[0], [ExplicitVRLittleEndian]), (classes[128], [ExplicitVRLittleEndian])) as scp:
        outcome = send_directory(tmp_path, "127.0.0.1", scp.port, called_ae="PIRTAD", calling_ae="TEST")

    assert [len(offered) for offered in scp.offered] == [128, 1]
    assert sorted(scp.stored) == ["1.2.3.0", "1.2.3.128"]
    assert (outcome.stored, len(outcome.failed)) == (2, 127)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:99999", ":104"])
def test_a_wrong_address_is_wrong_usage(tmp_path: Path, address: str) -> None:
    result = CliRunner().invoke(app, ["send", str(tmp_path), address])
    assert result.exit_code == 2


def test_a_folder_without_dicom_ends_with_4(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert pirtad_send(tmp_path, 1).exit_code == 4
    assert dicom_files(tmp_path) == ([], 1)
