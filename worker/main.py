"""A worker process: `pirtad worker`."""

from __future__ import annotations

import socket
import time

import kombu.exceptions
import redis
import structlog
from celery import Celery, signals
from celery.exceptions import Reject
from sqlalchemy.exc import SQLAlchemyError

from pirtad.inference.errors import InferenceError
from pirtad.worker.contract import LOOK_QUEUE, JobMessage, LookMessage, MessageError, Stage
from pirtad.worker.ledger import publishing
from pirtad.worker.ledger.database import Database, open_ledger
from pirtad.worker.logs import configure_logging
from pirtad.worker.look import Looker
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.queue import LOOK_TASK, make_celery, publish, task_name
from pirtad.worker.settings import Settings
from pirtad.worker.stages import run_stage

log = structlog.get_logger(__name__)

# Loading (and, the first time on a machine, converting) the language model happens at a worker process's start;
# Celery would take a process that is silent for 4 s for dead.
_START_TIMEOUT_S = 600.0
_LEDGER_PAUSE_S = 2.0


def run_worker(settings: Settings, stages: tuple[Stage, ...], processes: int | None = None) -> int:
    """Work on these stages' queues until told to stop (SIGTERM: finishes what is under way); returns the exit code."""
    configure_logging(settings.log)
    open_ledger(settings.storage.ledger_url()).close()  # migrate before any child needs it, and fail here if it can't
    app = make_celery(settings)
    app.conf.worker_proc_alive_timeout = _START_TIMEOUT_S
    context = _Context(settings, stages, app)
    for stage in stages:
        context.register(stage)
    if Stage.PREPARE in stages:
        context.register_look()
    signals.worker_process_init.connect(context.start_process, weak=False)
    # Connecting a handler keeps Celery from configuring logging its own way.
    signals.setup_logging.connect(_keep_logging, weak=False)
    configured = {
        Stage.PREPARE: settings.queue.prepare_processes,
        Stage.INFER: settings.queue.infer_processes,
        Stage.DELIVER: settings.queue.deliver_processes,
    }
    count = processes or sum(configured[stage] for stage in stages)
    name = "-".join(stages)
    worker = app.Worker(
        queues=[*map(str, stages), *([LOOK_QUEUE] if Stage.PREPARE in stages else [])],
        concurrency=count,
        pool="prefork",
        hostname=f"{name}@{socket.gethostname()}",
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


class _Context:
    """What a worker process's tasks share. Made before the fork, filled after it."""

    def __init__(self, settings: Settings, stages: tuple[Stage, ...], app: Celery) -> None:
        self._settings = settings
        self._stages = stages
        self._app = app
        self._database: Database | None = None
        self._pipeline: Pipeline | None = None
        self._looker: Looker | None = None

    def register(self, stage: Stage) -> None:
        """Make the stage's task known to Celery."""
        self._app.task(self.run, name=task_name(stage), bind=False)

    def register_look(self) -> None:
        """Make the look's task known to Celery."""
        self._app.task(self.look, name=LOOK_TASK, bind=False)

    def start_process(self, **_: object) -> None:
        """In the fresh child: connections, and for the infer stage the models."""
        self._database = Database(self._settings.storage.ledger_url())
        self._pipeline = Pipeline(self._settings, self._database)
        self._looker = Looker(self._settings, self._database)
        if Stage.DELIVER in self._stages:
            try:
                self._pipeline.tidy()  # of a job whose process was killed as it ended
            except (OSError, SQLAlchemyError) as error:
                log.warning("results of ended jobs not removed", error=type(error).__name__)
        if Stage.INFER in self._stages:
            try:
                started = time.monotonic()
                self._pipeline.load_models()
                log.info("models loaded", seconds=round(time.monotonic() - started, 1))
            except InferenceError as error:
                # Studies wait, with this reason in their status, and the next one tries to load again.
                log.error("models not loaded", code=error.code, reason=error.reason, hint=error.hint)

    def run(self, message: dict[str, object]) -> None:
        """A task: one attempt at one stage."""
        if self._database is None or self._pipeline is None:
            raise RuntimeError("the worker process was not started")
        try:
            run_stage(
                JobMessage.from_json(message), self._pipeline, self._database, self._settings.queue, self._publish
            )
        except SQLAlchemyError as error:
            # The ledger could not be asked or told. The message goes back, so that the job is not forgotten; the
            # pause keeps it from going round and round while the ledger is away.
            log.error("ledger not reachable, message handed back", error=type(error).__name__)
            time.sleep(_LEDGER_PAUSE_S)
            raise Reject(type(error).__name__, requeue=True) from None

    def look(self, message: dict[str, object]) -> None:
        """A task: one look at a study that is being received. One that fails is asked for again by the dispatcher."""
        if self._looker is None:
            raise RuntimeError("the worker process was not started")
        try:
            self._looker.look(LookMessage.from_json(message).study_uid)
        except (SQLAlchemyError, OSError, MessageError) as error:
            log.warning("no look taken", error=type(error).__name__)

    def _publish(self, message: JobMessage) -> None:
        # At worst the dispatcher does it: it publishes what has no mark. Published, then marked; between the two a
        # crash makes a second message, which its claim makes harmless.
        if self._database is None:
            raise RuntimeError("the worker process was not started")
        before = time.time()
        try:
            publish(self._app, message)
        except (kombu.exceptions.OperationalError, redis.RedisError, OSError) as error:
            log.warning("next stage not queued, the dispatcher will", error=type(error).__name__)
            return
        publishing.mark_published(self._database, message, before)


def _keep_logging(**_: object) -> None:
    return
