"""Trouble in the middle of letting go what is registered: the rest goes on, and nothing that was acknowledged goes."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from support.receiving import STUDY, Receiving, announced, encoded, files, image, receiving_side

from pirtad.daemon import registrar as registrar_module
from pirtad.daemon import spool as spool_module
from pirtad.daemon.errors import CANNOT_UNDERSTAND, Refused
from pirtad.daemon.spool import Spool
from pirtad.worker.ledger import views


def _send(side: Receiving, *numbers: int) -> None:
    for number in numbers:
        intake = side.receiver.begin(announced(sop_instance_uid=f"{STUDY}.2.{number}"))
        intake.write(memoryview(encoded(image(number))))
        assert intake.finish() == (0x0000, "")


def test_a_name_that_could_not_be_let_go_is_let_go_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an error at the second of three images, after the first had lost its name in .incoming
    real, unlinked = Path.unlink, []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == ".incoming":
            unlinked.append(path)
            if len(unlinked) == 2:
                raise OSError(errno.EIO, "no")
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(registrar_module, "_RETRY_S", (0.01,))
    with receiving_side(tmp_path) as side:
        _send(side, 1, 2, 3)
        # Then all are registered once, and the door is open
        assert side.registrar.flush(10)
        side.registrar.require_room()
        (view,) = views.studies(side.database)
        assert (view.images, view.duplicates) == (3, 0)
    assert len(files(tmp_path / "spool")) == 3


def test_a_file_that_somebody_removed_does_not_keep_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a ledger that is away, and meanwhile one of two files gone that wait for it
    real, is_away = registrar_module.registering.register_all, [True]

    def register_all(*arguments: object, **named: object) -> object:
        if is_away[0]:
            raise OperationalError("INSERT", {}, Exception("away"))
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(registrar_module.registering, "register_all", register_all)
    monkeypatch.setattr(registrar_module, "_RETRY_S", (0.01,))
    with receiving_side(tmp_path) as side:
        _send(side, 1)
        (gone,) = files(tmp_path / "spool" / ".incoming")
        assert not side.registrar.flush(0.3)
        for path in files(tmp_path / "spool"):
            path.unlink()
        is_away[0] = False
        # Then it is told of, no row says that it is there, and the next one is taken
        assert side.registrar.flush(10)
        assert side.receive(encoded(image(2)), sop_instance_uid=f"{STUDY}.2.2") == 0x0000
        assert [view.images for view in views.studies(side.database)] == [1]
    assert gone.name not in {path.name for path in files(tmp_path / "spool")}


def test_an_acknowledged_image_is_not_swept_away_by_stricter_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an image that was acknowledged by a release which took what this one refuses
    with receiving_side(tmp_path) as side:
        side.registrar.stop(5)
        _send(side, 1)
    (left,) = files(tmp_path / "spool")

    def refuses(*_: object) -> None:
        raise Refused(CANNOT_UNDERSTAND, "no longer")

    monkeypatch.setattr(spool_module, "read_header", refuses)
    assert Spool(tmp_path).prepare() == []
    # Then it stays, for whoever looks into the matter
    assert files(tmp_path / "spool") == [left]
    monkeypatch.undo()
    assert [received.incoming for received in Spool(tmp_path).prepare()] == [left]
