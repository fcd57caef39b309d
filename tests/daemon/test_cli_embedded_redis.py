"""The embedded server, really started. Its socket's path must be short, so pytest's directories won't do."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from pirtad.daemon import embedded_redis
from pirtad.worker.contract import JobMessage, Stage
from pirtad.worker.queue import embedded_socket, epoch_is_new, make_celery, publish, queue_lengths, redis_client
from pirtad.worker.settings import Settings, StorageSettings


@pytest.fixture
def settings() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="pirtad-") as directory:
        yield Settings(storage=StorageSettings(data_dir=Path(directory)))


def test_serves_the_queue_on_a_private_socket_and_keeps_it_over_a_restart(settings: Settings) -> None:
    data_dir = settings.storage.data_dir
    client = redis_client(settings)

    # Given a running server with a message
    with embedded_redis.running(data_dir) as process:
        assert embedded_redis.answers(data_dir)
        assert epoch_is_new(client)
        app = make_celery(settings)
        publish(app, JobMessage("a" * 32, Stage.INFER))
        app.close()
        assert queue_lengths(client) == {Stage.PREPARE: 0, Stage.INFER: 1, Stage.DELIVER: 0}
        # Then only its owner can reach it, and over no network
        assert stat.S_IMODE(embedded_socket(data_dir).stat().st_mode) == 0o700
        assert client.config_get("port") == {"port": "0"} or client.config_get("port") == {b"port": b"0"}
    assert process.returncode == 0
    assert not embedded_redis.answers(data_dir)

    # When it is started again, Then the message is still there
    with embedded_redis.running(data_dir):
        assert not epoch_is_new(client)
        assert queue_lengths(client)[Stage.INFER] == 1
    client.close()


def test_a_second_server_on_the_same_directory_is_refused(settings: Settings) -> None:
    data_dir = settings.storage.data_dir
    with (
        embedded_redis.running(data_dir),
        pytest.raises(embedded_redis.EmbeddedServerError, match="already answers"),
        embedded_redis.running(data_dir),
    ):
        pytest.fail("two servers on one socket")


def test_a_server_that_can_not_start_is_told_of(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "server_binary", lambda: Path("/bin/false"))
    with (
        pytest.raises(embedded_redis.EmbeddedServerError, match="ended at once, with status 1"),
        embedded_redis.running(settings.storage.data_dir),
    ):
        pytest.fail("not running")


def test_without_a_server_nothing_answers(tmp_path: Path) -> None:
    assert not embedded_redis.answers(tmp_path)
    with pytest.raises(redis.ConnectionError):
        redis_client(Settings(storage=StorageSettings(data_dir=Path("/tmp/none")))).ping()
