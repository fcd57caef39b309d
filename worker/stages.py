"""One attempt at one stage: the boundary where an error's class decides what happens to the study.

DeliveryPending                     waits for the destination whose turn is first; each has its own backoff
StudyNotUsable                      set aside: the input's fault, `pirtad retry` after a mend
Permanent                           failed: shelved at once
Transient, LanguageModelUnavailable,
ModelMismatch, OSError              waits with backoff for as long as it takes: a PACS that is down, a model server
                                    that starts, a disk that is full or away, an installation that an operator
                                    mends; status shows the reason
of these, one in _COUNTED,
anything else, a dead worker        waits with backoff; after `queue.max_attempts` of these, failed
ResultLost                          the job starts anew: an earlier stage's result is gone, the images are not
ClaimLost                           nothing: the job is in other hands
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable

import structlog

from pirtad.inference.errors import LanguageModelUnavailable, ModelMismatch, StudyNotUsable
from pirtad.worker import lease
from pirtad.worker.backoff import backoff_s
from pirtad.worker.contract import JobMessage, JobState, Stage
from pirtad.worker.errors import DeliveryPending, Permanent, Transient
from pirtad.worker.ledger import jobs, owner
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.jobs import ClaimedJob, ClaimLost
from pirtad.worker.pipeline import NEXT_STAGE, Pipeline, local_time
from pirtad.worker.settings import QueueSettings
from pirtad.worker.workspace import ResultLost

# Codes of errors whose class waits, and that this study would bring again and again.
_COUNTED = {"llm_invalid_answer", "report_contradicts_evidence"}

log = structlog.get_logger(__name__)


def run_stage(
    message: JobMessage,
    pipeline: Pipeline,
    database: Database,
    settings: QueueSettings,
    publish: Callable[[JobMessage], None],
) -> None:
    """Claim, work, and record the outcome. `publish` puts the next stage's message into the queue."""
    job = jobs.claim(database, message, owner.this_process(), time.time(), settings.lease_s, owner.is_dead)
    if job is None:
        log.info("nothing to do for this message", job_id=message.job_id, stage=str(message.stage))
        _tidy(pipeline)
        return
    with structlog.contextvars.bound_contextvars(study_uid=job.study_uid, job_id=job.job_id, stage=str(job.stage)):
        try:
            if job.failures >= settings.max_attempts:
                _fail(database, job, "worker_died", f"{job.failures} attempts ended in a dead worker or an error", "")
                return
            following = _work(job, pipeline, database, settings)
        except ClaimLost as lost:
            log.warning("claim lost, result dropped", reason=str(lost))
            _tidy(pipeline)
            return
        if following is not None:
            publish(following)


def _work(job: ClaimedJob, pipeline: Pipeline, database: Database, settings: QueueSettings) -> JobMessage | None:
    started_at = time.time()
    try:
        with lease.kept(database, job, settings.lease_s):
            match job.stage:
                case Stage.PREPARE:
                    pipeline.prepare(job)
                case Stage.INFER:
                    pipeline.infer(job)
                case Stage.DELIVER:
                    pipeline.deliver(job, local_time(started_at))
                    jobs.finish(database, job, pipeline.delivered_to(job), time.time())
    except ClaimLost:
        raise
    except ResultLost as lost:
        log.warning("starting anew", missing=str(lost))
        return jobs.advance(database, job, Stage.PREPARE, time.time())
    except StudyNotUsable as error:
        jobs.shelve(database, job, JobState.SET_ASIDE, error.code, error.reason, error.hint, time.time())
        log.warning("set aside", code=error.code, reason=error.reason)
        return None
    except Permanent as error:
        _fail(database, job, error.code, error.reason, error.hint)
        return None
    except DeliveryPending as pending:
        told = f"{pending.reason} {pending.hint}".strip()
        jobs.defer(
            database, job, pending.until, told, time.time(), is_failure=False, is_told=pending.is_failure
        )  # fmt: skip
        log.info("a destination waits", reason=pending.reason, attempt=job.attempt)
        return None
    except (Transient, LanguageModelUnavailable, ModelMismatch) as error:
        told = f"{error.reason} {error.hint}".strip()
        if error.code in _COUNTED:
            _after_failure(database, job, settings, error.code, told, error.hint)
        else:
            _wait(database, job, settings, told, is_failure=False)
        return None
    except OSError as error:
        if type(error) is OSError and error.errno is None:
            # Not the system's: how pydicom says that a nested sequence makes no sense. Waiting would mend nothing.
            _after_unforeseen(database, job, settings, error)
            return None
        _wait(database, job, settings, f"storage or network: {os.strerror(error.errno or 0)}", is_failure=False)
        return None
    except Exception as error:  # noqa: BLE001 - the boundary: whatever a stage raises, the study must not be lost
        _after_unforeseen(database, job, settings, error)
        return None
    log.info("finished", seconds=round(time.time() - started_at, 3))
    if job.stage is Stage.DELIVER:
        pipeline.forget(job)
        return None
    return jobs.advance(database, job, NEXT_STAGE[job.stage], time.time())


def _tidy(pipeline: Pipeline) -> None:
    try:
        pipeline.tidy()
    except OSError as error:  # another message's end tries again
        log.warning("results of ended jobs not removed", error=os.strerror(error.errno or 0))


def _after_unforeseen(database: Database, job: ClaimedJob, settings: QueueSettings, error: Exception) -> None:
    where = traceback.extract_tb(error.__traceback__)[-1]
    # An unforeseen error's text may quote a header: its type and place are told, never its text.
    told = f"{type(error).__name__} in {where.name} ({where.filename.rpartition('/')[2]}:{where.lineno})"
    hint = "a defect of pirtad: please report it; the images are kept"
    _after_failure(database, job, settings, "unforeseen", told, hint)


def _after_failure(
    database: Database, job: ClaimedJob, settings: QueueSettings, code: str, told: str, hint: str
) -> None:
    if job.failures + 1 >= settings.max_attempts:
        _fail(database, job, code, told, hint)
    else:
        _wait(database, job, settings, told, is_failure=True)


def _wait(database: Database, job: ClaimedJob, settings: QueueSettings, told: str, *, is_failure: bool) -> None:
    now = time.time()
    seconds = backoff_s(job.attempt, settings.backoff_base_s, settings.backoff_cap_s)
    jobs.defer(database, job, now + seconds, told, now, is_failure=is_failure)
    log.warning("attempt brought no result", reason=told, attempt=job.attempt, next_in_s=seconds)


def _fail(database: Database, job: ClaimedJob, code: str, reason: str, hint: str) -> None:
    jobs.shelve(
        database, job, JobState.FAILED, code, reason, hint or "see `pirtad show`, then `pirtad retry`", time.time()
    )
    log.error("failed", code=code, reason=reason)
