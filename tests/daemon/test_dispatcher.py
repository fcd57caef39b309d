"""The dispatcher against a real ledger and a real Redis-compatible server that comes and goes."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
import structlog
from sqlalchemy.exc import OperationalError
from support.ledger import STUDY, new_ledger, receive
from support.receiving import Clock

from pirtad.daemon import dispatcher as dispatcher_module
from pirtad.daemon.dispatcher import Dispatcher
from pirtad.daemon.embedded_redis import running
from pirtad.worker.contract import JobMessage, Stage, StudyState
from pirtad.worker.ledger import claiming, views
from pirtad.worker.ledger.tables import Job
from pirtad.worker.queue import make_celery, redis_client
from pirtad.worker.settings import AssemblySettings, Settings, StorageSettings


@pytest.fixture
def short_dir():
    path = Path(tempfile.mkdtemp(prefix="pirtad-"))  # a Unix socket's path must be short
    yield path
    shutil.rmtree(path)


@pytest.fixture
def world(short_dir):
    world = _World(short_dir)
    yield world
    world.app.close()
    world.database.close()


class _World:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = Settings(storage=StorageSettings(data_dir=directory))
        self.database = new_ledger(directory)
        self.app = make_celery(self.settings)
        self.clock = Clock(1000.0)

    def dispatcher(self) -> Dispatcher:
        return Dispatcher(AssemblySettings(), self.database, self.app, lambda: redis_client(self.settings), self.clock)

    def server(self):
        return running(self.directory)

    def messages(self, stage: Stage = Stage.PREPARE) -> list[JobMessage]:
        client = redis_client(self.settings)
        raw = [json.loads(entry) for entry in client.lrange(str(stage), 0, -1)]
        client.close()
        return [_message(entry) for entry in raw]

    def wipe(self) -> None:
        client = redis_client(self.settings)
        client.flushall()
        client.close()

    def job(self) -> Job:
        with self.database.reading() as session:
            return session.query(Job).one()


def _message(entry) -> JobMessage:

    args, _, _ = json.loads(base64.b64decode(entry["body"]))
    return JobMessage.from_json(args[0])


def test_a_quiet_study_becomes_one_job_and_one_message(world):
    with world.server():
        dispatcher = world.dispatcher()
        receive(world.database, 1, 2, now=world.clock.now)
        # Given a study that was received a moment ago, nothing happens
        dispatcher.tick()
        assert views.studies(world.database)[0].state == StudyState.RECEIVING
        # When it was quiet for the quiet period, then there is one message, however often the dispatcher looks
        world.clock.now += 10
        for _ in range(3):
            dispatcher.tick()
        assert world.messages() == [JobMessage(world.job().id, Stage.PREPARE)]
        assert world.job().published_at == world.clock.now
        assert views.studies(world.database)[0].state == StudyState.QUEUED
        assert (dispatcher.last_error, dispatcher.last_ok_at) == ("", world.clock.now)


def test_without_a_queue_the_job_waits_and_is_published_when_the_queue_is_back(world):
    dispatcher = world.dispatcher()
    receive(world.database, 1, now=0.0)
    # Given no server
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            dispatcher.tick()
    # Then the job is there, unpublished, and the outage is told once
    assert world.job().published_at is None
    assert [entry["log_level"] for entry in logged if entry["log_level"] == "error"] == ["error"]
    assert dispatcher.last_error.startswith("queue: ")
    assert dispatcher.last_ok_at is None
    # When the server comes, goes and comes again, then there is a message each time
    for _ in range(2):
        with world.server():
            world.wipe()
            _tick_until_well(dispatcher)
            assert world.messages() == [JobMessage(world.job().id, Stage.PREPARE)]
        dispatcher.tick()
        assert dispatcher.last_error.startswith("queue: ")


def _tick_until_well(dispatcher: Dispatcher) -> None:
    for _ in range(3):  # a pooled connection to the old server may fail once before a new one is made
        dispatcher.tick()
        if not dispatcher.last_error:
            return
    raise AssertionError(dispatcher.last_error)


def test_a_wiped_queue_is_rebuilt_from_the_ledger(world):
    with world.server():
        dispatcher = world.dispatcher()
        receive(world.database, 1, now=0.0)
        dispatcher.tick()
        world.wipe()
        dispatcher.tick()
        assert world.messages() == [JobMessage(world.job().id, Stage.PREPARE)]
        assert [notice.kind for notice in views.notices(world.database)] == ["queue_rebuilt"]


def test_messages_lost_by_a_queue_that_kept_its_epoch_are_found_missing(world):
    with world.server():
        dispatcher = world.dispatcher()
        receive(world.database, 1, now=0.0)
        dispatcher.tick()
        # Given a server that lost its last second, and not the key written long before
        client = redis_client(world.settings)
        client.delete(str(Stage.PREPARE))
        client.close()
        # Then it is noticed within a minute, and by a new dispatcher at once
        dispatcher.tick()
        assert world.messages() == []
        world.clock.now += 60
        dispatcher.tick()
        assert len(world.messages()) == 1
        # And messages that are there are left alone
        world.clock.now += 60
        dispatcher.tick()
        world.dispatcher().tick()
        assert len(world.messages()) == 1


def test_a_rebuild_that_the_ledger_missed_is_made_up_for(world, monkeypatch):
    with world.server():
        dispatcher = world.dispatcher()
        receive(world.database, 1, now=0.0)
        dispatcher.tick()
        world.wipe()
        # Given a ledger that fails at the very tick that sees the new epoch
        with monkeypatch.context() as patched:
            patched.setattr(dispatcher_module.publishing, "forget_published", _raise(_locked()))
            dispatcher.tick()
            assert dispatcher.last_error == "ledger: OperationalError"
        dispatcher.tick()
        assert len(world.messages()) == 1


def test_a_crash_between_publishing_and_marking_makes_a_second_message_and_one_job(world, monkeypatch):
    with world.server():
        receive(world.database, 1, now=0.0)
        with monkeypatch.context() as patched:
            patched.setattr(dispatcher_module.publishing, "mark_published", _raise(_locked()))
            world.dispatcher().tick()
        world.dispatcher().tick()
        assert world.messages() == [JobMessage(world.job().id, Stage.PREPARE)] * 2
        # and only the first of the two finds something to do
        first, second = world.messages()
        claim = [claiming.claim(world.database, it, "host:1:1:1", 0.0, 30, lambda _: False) for it in (first, second)]
        assert [claimed is not None for claimed in claim] == [True, False]


def _locked() -> OperationalError:
    return OperationalError("UPDATE", {}, Exception("database is locked"))


def _raise(error: Exception):
    def raises(*_):
        raise error

    return raises


def test_ledger_trouble_is_told_and_survived(world, monkeypatch):
    with world.server():
        dispatcher = world.dispatcher()
        with monkeypatch.context() as patched:
            patched.setattr(dispatcher_module.receiving, "open_studies", _raise(_locked()))
            dispatcher.tick()
        assert dispatcher.last_error == "ledger: OperationalError"
        dispatcher.tick()
        assert dispatcher.last_error == ""


def test_a_bug_is_not_taken_for_trouble(world, monkeypatch):
    monkeypatch.setattr(dispatcher_module, "decide", _raise(ValueError("a bug")))
    with pytest.raises(ValueError, match="a bug"):
        world.dispatcher().run(threading.Event(), 0.01)


def test_run_ends_when_told_to(world):
    with world.server():
        stop = threading.Event()
        thread = threading.Thread(target=world.dispatcher().run, args=(stop, 60.0))
        thread.start()
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def test_late_images_reopen_a_study_and_make_a_new_job(world):
    with world.server():
        dispatcher = world.dispatcher()
        receive(world.database, 1, now=world.clock.now)
        world.clock.now += 10
        dispatcher.tick()
        receive(world.database, 2, now=world.clock.now)
        world.clock.now += 10
        dispatcher.tick()
        kinds = [event.kind for event in views.study(world.database, STUDY).events]
        assert kinds.count("complete") == 2
        assert "superseded" in kinds
        assert len(world.messages()) == 2
