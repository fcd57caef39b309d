"""The ledger follows the spool, and catches up with it whenever the process before died."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from support.receiving import STUDY, announced, encoded, files, image, receiving_side

from pirtad.daemon import registrar as registrar_module
from pirtad.daemon.registrar import Registrar
from pirtad.daemon.spool import Spool
from pirtad.worker.ledger import receiving, views
from pirtad.worker.ledger.tables import Instance


class Died(BaseException):
    """The process ends here, as far as the test goes."""


def _rows(side):
    with side.database.reading() as session:
        return list(session.scalars(select(Instance).order_by(Instance.id)))


def _left_behind(tmp_path: Path, numbers=(1, 2, 3)) -> None:
    """Images answered with Success by a process that died before it registered any."""
    with receiving_side(tmp_path) as side:
        side.registrar.stop(5)
        for number in numbers:
            intake = side.receiver.begin(announced(sop_instance_uid=f"{STUDY}.2.{number}"))
            intake.write(memoryview(encoded(image(number))))
            assert intake.finish() == (0x0000, "")
        assert _rows(side) == []


def test_what_was_acknowledged_is_registered_by_the_next_start(tmp_path):
    _left_behind(tmp_path)
    with receiving_side(tmp_path) as side:
        rows = _rows(side)  # before anything else happens: no flush
        kept = {row.sop_instance_uid: (tmp_path / row.path).read_bytes() for row in rows}
        assert len(rows) == len(kept) == 3
        assert all(kept[f"{STUDY}.2.{number}"].endswith(encoded(image(number))) for number in (1, 2, 3))
        assert {row.calling_ae for row in rows} == {"SCANNER"}
        (study,) = receiving.open_studies(side.database)
        assert study.last_received_at == side.clock.now
    assert files(tmp_path / "spool" / ".incoming") == []


def test_an_image_of_the_future_does_not_keep_its_study_waiting(tmp_path):
    # Given an image received while the clock was an hour ahead, and not registered before it was set back
    with receiving_side(tmp_path) as side:
        side.registrar.stop(5)
        side.clock.now += 3600
        intake = side.receiver.begin(announced(sop_instance_uid=f"{STUDY}.2.1"))
        intake.write(memoryview(encoded(image(1))))
        assert intake.finish() == (0x0000, "")
    # Then it counts as received now
    with receiving_side(tmp_path) as side:
        (study,) = receiving.open_studies(side.database)
        assert study.last_received_at == side.clock.now


@pytest.mark.parametrize("step", ["place", "register_all", "settle"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_death_at_any_step_of_registering_loses_and_doubles_nothing(tmp_path, monkeypatch, step, when):
    _left_behind(tmp_path)
    owner = registrar_module.registering if step == "register_all" else Spool
    real = getattr(owner, step)

    def dies(*arguments, **named):
        if when == "after":
            real(*arguments, **named)
        raise Died

    monkeypatch.setattr(owner, step, dies)
    with pytest.raises(Died), receiving_side(tmp_path):
        pass
    monkeypatch.undo()
    with receiving_side(tmp_path) as side:
        rows = _rows(side)
        assert len(rows) == 3
        assert all((tmp_path / row.path).is_file() for row in rows)
        (view,) = views.studies(side.database)
        assert (view.images, view.duplicates) == (3, 0)
    assert files(tmp_path / "spool") == sorted(tmp_path / row.path for row in rows)


def test_a_recovered_study_waits_for_more_as_from_its_last_image(tmp_path):
    _left_behind(tmp_path, (1,))
    with receiving_side(tmp_path) as side:
        side.clock.now += 5
        assert side.receive(encoded(image(2)), sop_instance_uid=f"{STUDY}.2.2") == 0x0000
        (study,) = receiving.open_studies(side.database)
        assert study.last_received_at == side.clock.now
        assert study.open_since == side.clock.now - 5


def test_trouble_is_tried_again_until_it_ends(tmp_path, monkeypatch):
    real, calls = Spool.settle, []

    def fails_once(self, images):
        calls.append(1)
        if len(calls) == 1:
            raise OSError(5, "no")
        real(self, images)

    monkeypatch.setattr(Spool, "settle", fails_once)
    with receiving_side(tmp_path) as side:
        assert side.receive(encoded(image())) == 0x0000
        assert side.registrar.flush(10)
        assert len(_rows(side)) == 1
        assert len(calls) == 2
        side.registrar.require_room()
        # and it was received once: what was tried again is no duplicate
        assert views.studies(side.database)[0].duplicates == 0


def test_one_transaction_for_all_that_waits(tmp_path, monkeypatch):
    real, batches = registrar_module.registering.register_all, []

    def counted(database, arrivals, **named):
        batches.append(len(arrivals))
        return real(database, arrivals, **named)

    monkeypatch.setattr(registrar_module.registering, "register_all", counted)
    _left_behind(tmp_path, range(1, 21))
    with receiving_side(tmp_path):
        assert batches == [20]


def test_a_ledger_far_behind_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(registrar_module, "_MAX_BEHIND", 2)
    with receiving_side(tmp_path) as side:
        side.registrar.stop(5)
        statuses = [side.receive(encoded(image(n)), sop_instance_uid=f"{STUDY}.2.{n}") for n in range(1, 6)]
        assert statuses == [0, 0, 0, 0xA700, 0xA700]


def test_a_registrar_never_started_stops(tmp_path):
    with receiving_side(tmp_path) as side:
        Registrar(side.spool, side.database, side.receiver.sizes).stop(0.1)
