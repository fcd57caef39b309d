"""A sender's bytes never become a receipt: what was not acknowledged is not registered by the next start.

A dataset may be whatever a sender likes, a copy of a file of our own spool too, with its receipt at the beginning.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.receiving import STUDY, announced, encoded, files, image, receiving_side

from pirtad.daemon.part10 import MAX_START_BYTES
from pirtad.daemon.receiver import Intake
from pirtad.daemon.spool import Spool


class Died(BaseException):
    """The process ends here, as far as the test goes."""


@pytest.fixture
def forged(tmp_path: Path) -> bytes:
    """A file of a spool, which says that it was received from SCANNER."""
    with receiving_side(tmp_path / "elsewhere") as side:
        assert side.receive(encoded(image())) == 0x0000
        (file,) = files(tmp_path / "elsewhere" / "spool")
        return file.read_bytes()


@pytest.mark.parametrize("zeros_left_out", [0, 2, 64, 128])
@pytest.mark.parametrize("sop_instance_uid", ["not a UID", f"{STUDY}.2.1"])
def test_an_image_that_is_still_coming_in_is_no_receipt(
    tmp_path: Path, forged: bytes, sop_instance_uid: str, zeros_left_out: int
) -> None:
    # Given a sender in the middle of such a dataset when the process dies, whatever stands before it in the file
    with receiving_side(tmp_path) as side:
        intake = side.receiver.begin(announced(sop_instance_uid=sop_instance_uid))
        intake.write(memoryview(forged)[zeros_left_out:])
    # Then the next start finds nothing that was received
    assert Spool(tmp_path).prepare() == []
    intake.abandon()


def test_a_copy_on_its_way_to_the_quarantine_is_no_receipt(
    tmp_path: Path, forged: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise Died

    with receiving_side(tmp_path) as side:
        monkeypatch.setattr(Intake, "abandon", dies)
        intake = side.receiver.begin(announced())
        intake.write(memoryview(forged))
        # When the process dies between the copy and its name
        monkeypatch.setattr(Path, "replace", dies)
        with pytest.raises(Died):
            intake.finish()
        monkeypatch.undo()
    # Then the next start finds nothing that was received, and sweeps it away
    assert Spool(tmp_path).prepare() == []
    assert files(tmp_path / "spool") == []
    intake.abandon()


def test_a_refused_image_of_any_name_is_kept_as_it_came(tmp_path: Path) -> None:
    data = encoded(image()) + bytes(2 * MAX_START_BYTES)
    with receiving_side(tmp_path) as side:
        assert side.receive(data, sop_instance_uid="not a UID") == 0xA900
    (kept,) = [path for path in files(tmp_path / "quarantine") if path.suffix == ".dataset"]
    assert kept.read_bytes() == data
