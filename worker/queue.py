"""The queue: Celery on Redis, JSON messages with ids only. Light: the daemon publishes with it and loads no torch.

One Celery queue a stage. Messages are acknowledged after the work, one is fetched at a time, and a worker process that
dies hands its message back. Redis may be wiped: `epoch` tells the dispatcher, which then publishes from the ledger.
"""

from __future__ import annotations

from pathlib import Path

import redis
from celery import Celery
from kombu import Queue

from pirtad.worker.contract import LOOK_QUEUE, JobMessage, LookMessage, Stage
from pirtad.worker.settings import EMBEDDED, Settings

# Redis hands a message that nobody acknowledged to another worker after this time; the claim in the ledger makes
# that harmless while the first one still works on it (celery issues 5935, 4976).
_VISIBILITY_TIMEOUT_S = 120
_EPOCH_KEY = "pirtad:epoch"
_LOOK_EXPIRES_S = 15.0
LOOK_TASK = "pirtad.look"


def task_name(stage: Stage) -> str:
    """Celery's name of a stage's task."""
    return f"pirtad.{stage}"


def embedded_socket(data_dir: Path) -> Path:
    """Unix socket of the embedded Redis-compatible server."""
    return data_dir.absolute() / "redis.sock"


def redis_client(settings: Settings, timeout_s: float = 5.0) -> redis.Redis:
    """A client of the configured server."""
    url = settings.queue.redis_url
    if url == EMBEDDED:
        url = f"unix://{embedded_socket(settings.storage.data_dir)}"
    return redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)


def make_celery(settings: Settings) -> Celery:
    """The Celery application for these settings."""
    url = settings.queue.redis_url
    broker = f"redis+socket://{embedded_socket(settings.storage.data_dir)}" if url == EMBEDDED else url
    app = Celery("pirtad", broker=broker)
    app.conf.update(
        task_queues=[Queue(str(stage)) for stage in Stage] + [Queue(LOOK_QUEUE)],
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # A stage that hangs is ended with its process; the dispatcher sees a dead owner and takes the job back.
        task_time_limit=settings.queue.stage_timeout_s,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": _VISIBILITY_TIMEOUT_S, "socket_timeout": 30},
        # The dispatcher tries again by itself; a publisher that blocks would stop it.
        task_publish_retry=False,
    )
    return app


def publish(app: Celery, message: JobMessage) -> None:
    """Put a message into its stage's queue; kombu's OperationalError if the server can't be reached."""
    app.send_task(task_name(message.stage), args=[message.to_json()], queue=str(message.stage), expires=None)


def publish_look(app: Celery, message: LookMessage) -> None:
    """Ask for a look; kombu's OperationalError if the server can't be reached. A look that waits too long is dropped:
    another one will have been asked for."""
    app.send_task(LOOK_TASK, args=[message.to_json()], queue=LOOK_QUEUE, expires=_LOOK_EXPIRES_S)


def queue_lengths(client: redis.Redis) -> dict[Stage, int]:
    """Messages that wait in each queue (those a worker holds are not counted)."""
    return {stage: int(client.llen(str(stage))) for stage in Stage}


def epoch_is_new(client: redis.Redis) -> bool:
    """True once for each new or wiped server: whatever had been published is gone."""
    return bool(client.set(_EPOCH_KEY, "1", nx=True))
