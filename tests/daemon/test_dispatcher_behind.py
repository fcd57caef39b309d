"""After the ledger was away, images that were acknowledged meanwhile wait for it: no study is quiet without them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from support.receiving import STUDY, Receiving, announced, encoded, image, receiving_side

from pirtad.daemon import dispatcher as dispatcher_module
from pirtad.daemon import registrar as registrar_module
from pirtad.daemon.assembler import Decision, Step
from pirtad.daemon.dispatcher import Dispatcher
from pirtad.worker.contract import StartedBy
from pirtad.worker.ledger import looks, receiving, views
from pirtad.worker.ledger.looks import Counts, Seen
from pirtad.worker.queue import make_celery, redis_client
from pirtad.worker.settings import AssemblySettings, Settings, StorageSettings


class Outage:
    """The ledger takes no registrations while it lasts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_on = False
        real = registrar_module.registering.register_all

        def register_all(*arguments: object, **named: object) -> object:
            if self.is_on:
                raise OperationalError("INSERT", {}, Exception("away"))
            return real(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(registrar_module.registering, "register_all", register_all)
        monkeypatch.setattr(registrar_module, "_RETRY_S", (0.01,))


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(monkeypatch)


@pytest.fixture
def side(tmp_path: Path, outage: Outage) -> Iterator[Receiving]:
    with receiving_side(tmp_path) as side:
        yield side
        outage.is_on = False


def _dispatcher(side: Receiving, tmp_path: Path) -> Dispatcher:
    """Without a queue: jobs are opened all the same."""
    settings = Settings(storage=StorageSettings(data_dir=tmp_path))
    return Dispatcher(
        AssemblySettings(quiet_period_s=10.0, hard_cap_s=100.0), side.database, make_celery(settings),
        lambda: redis_client(settings), side.clock, unregistered=side.registrar.unregistered,
    )  # fmt: skip


def _send_second_half(side: Receiving, outage: Outage) -> None:
    assert side.receive(encoded(image(1)), sop_instance_uid=f"{STUDY}.2.1") == 0x0000
    outage.is_on = True
    side.clock.now += 5
    intake = side.receiver.begin(announced(sop_instance_uid=f"{STUDY}.2.2"))
    intake.write(memoryview(encoded(image(2))))
    assert intake.finish() == (0x0000, "")


def _is_open(side: Receiving) -> bool:
    return [study.study_uid for study in receiving.open_studies(side.database)] == [STUDY]


def test_a_study_is_not_quiet_while_images_of_it_wait_for_the_ledger(
    side: Receiving, tmp_path: Path, outage: Outage
) -> None:
    _send_second_half(side, outage)
    dispatcher = _dispatcher(side, tmp_path)
    # When the quiet period is over as far as the ledger knows
    side.clock.now += 6
    dispatcher.tick()
    assert _is_open(side)
    # Then the study is started with both, once it was quiet
    outage.is_on = False
    assert side.registrar.flush(10)
    dispatcher.tick()
    assert _is_open(side)
    side.clock.now += 10
    dispatcher.tick()
    assert not _is_open(side)
    assert views.studies(side.database)[0].images == 2


def test_the_hard_cap_holds_all_the_same(side: Receiving, tmp_path: Path, outage: Outage) -> None:
    _send_second_half(side, outage)
    side.clock.now += 100
    with side.database.transaction() as session:  # the last image that is registered came a moment ago
        session.connection().exec_driver_sql(f"UPDATE studies SET last_received_at = {side.clock.now - 1}")
    _dispatcher(side, tmp_path).tick()
    assert not _is_open(side)


@pytest.mark.parametrize(("series", "is_started"), [("plain", True), ("of a pair", False)])
def test_an_early_start_waits_for_images_that_could_change_it_alone(
    side: Receiving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, series: str, is_started: bool
) -> None:
    # Given a decision to start a whole pair, and an image that is not registered yet
    assert side.receive(encoded(image(1)), sop_instance_uid=f"{STUDY}.2.1") == 0x0000
    seen = Seen(True, Counts.MET, (f"{STUDY}.2.1",), frozenset({f"{STUDY}.1", "plain"}), frozenset({"plain"}))
    looks.keep_look(side.database, STUDY, looks.files_of(side.database, STUDY), seen, side.clock.now)
    whole = [Decision(STUDY, Step.START, StartedBy.WHOLE)]
    monkeypatch.setattr(dispatcher_module, "decide", lambda *_: whole)
    monkeypatch.setattr(side.registrar, "unregistered", lambda: frozenset({(STUDY, series)}))
    _dispatcher(side, tmp_path).tick()
    assert _is_open(side) is not is_started
