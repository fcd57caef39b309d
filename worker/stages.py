"""One attempt at one stage: the boundary where an error's class decides what happens to the study.

DeliveryPending                     waits for the destination whose turn is first; each has its own backoff
StudyNotUsable                      set aside: the input's fault, `pirtad retry` after a mend
Permanent                           failed: shelved at once
Transient, LanguageModelUnavailable,
ModelMismatch, OSError, LEDGER_AWAY waits with backoff for as long as it takes: a PACS that is down, a model server
                                    that starts, a disk that is full or away, an installation that an operator
                                    mends; status shows the reason
of these, one in _COUNTED,
anything else, a dead worker        waits with backoff; after `queue.max_attempts` of these, failed
ResultLost                          the job starts anew: an earlier stage's result is gone, the images are not
ClaimLost                           nothing: the job is in other hands

An outcome that the ledger does not take at once is told to it again: see `pirtad.worker.recording`.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from pirtad.inference.errors import LanguageModelUnavailable, ModelMismatch, StudyNotUsable
from pirtad.worker import lease
from pirtad.worker.backoff import backoff_s
from pirtad.worker.contract import JobMessage, JobState, Stage
from pirtad.worker.errors import DeliveryPending, Permanent, Transient
from pirtad.worker.ledger import claiming, owner, progress
from pirtad.worker.ledger.claiming import ClaimedJob, ClaimLost
from pirtad.worker.ledger.database import Database
from pirtad.worker.pipeline import NEXT_STAGE, Pipeline, local_time
from pirtad.worker.recording import LEDGER_AWAY, recorded
from pirtad.worker.settings import QueueSettings
from pirtad.worker.workspace import ResultLost

# Codes of errors whose class waits, and that this study would bring again and again.
_COUNTED = {"llm_invalid_answer", "report_contradicts_evidence"}

_Result = TypeVar("_Result")

log = structlog.get_logger(__name__)


def run_stage(
    message: JobMessage,
    pipeline: Pipeline,
    database: Database,
    settings: QueueSettings,
    publish: Callable[[JobMessage], None],
    *,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Claim, work, and record the outcome. `publish` puts the next stage's message into the queue.

    SQLAlchemyError where the ledger can't be asked, or be told for several tries; the job is then taken up again when
    its lease ends.
    """
    job = claiming.claim(database, message, owner.this_process(), time.time(), settings.lease_s, owner.is_dead)
    if job is None:
        log.info("nothing to do for this message", job_id=message.job_id, stage=str(message.stage))
        _tidy(pipeline)
        return
    with structlog.contextvars.bound_contextvars(study_uid=job.study_uid, job_id=job.job_id, stage=str(job.stage)):
        attempt = _Attempt(job, database, settings, pause)
        try:
            if job.failures >= settings.max_attempts:
                _fail(attempt, "worker_died", f"{job.failures} attempts ended in a dead worker or an error", "")
                return
            with lease.kept(database, job, settings.lease_s):
                following = _work(attempt, pipeline)
        except ClaimLost as lost:
            log.warning("claim lost, result dropped", reason=str(lost))
            _tidy(pipeline)
            return
        if following is not None:
            publish(following)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A claimed job and where to record what comes of it. pause: waits so many seconds."""

    job: ClaimedJob
    database: Database
    settings: QueueSettings
    pause: Callable[[float], None]

    def record(self, change: Callable[[], _Result]) -> _Result:
        """Record an outcome, in a few tries."""
        return recorded(change, self.pause)


def _work(attempt: _Attempt, pipeline: Pipeline) -> JobMessage | None:
    job, database = attempt.job, attempt.database
    started_at = time.time()
    try:
        match job.stage:
            case Stage.PREPARE:
                pipeline.prepare(job)
            case Stage.INFER:
                pipeline.infer(job)
            case Stage.DELIVER:
                pipeline.deliver(job, local_time(started_at))
                to = attempt.record(lambda: pipeline.delivered_to(job))
                attempt.record(lambda: progress.finish(database, job, to, time.time()))
    except ClaimLost:
        raise
    except ResultLost as lost:
        log.warning("starting anew", missing=str(lost))
        return attempt.record(lambda: progress.advance(database, job, Stage.PREPARE, time.time()))
    except StudyNotUsable as error:
        _shelve(attempt, JobState.SET_ASIDE, error.code, error.reason, error.hint)
        log.warning("set aside", code=error.code, reason=error.reason)
        return None
    except Permanent as error:
        _fail(attempt, error.code, error.reason, error.hint)
        return None
    except DeliveryPending as pending:
        told = f"{pending.reason} {pending.hint}".strip()
        _defer(attempt, pending.until, told, is_failure=False, is_told=pending.is_failure)
        log.info("a destination waits", reason=pending.reason, attempt=job.attempt)
        return None
    except (Transient, LanguageModelUnavailable, ModelMismatch) as error:
        told = f"{error.reason} {error.hint}".strip()
        if error.code in _COUNTED:
            _after_failure(attempt, error.code, told, error.hint)
        else:
            _wait(attempt, told, is_failure=False)
        return None
    except OSError as error:
        if type(error) is OSError and error.errno is None:
            # Not the system's: how pydicom says that a nested sequence makes no sense. Waiting would mend nothing.
            _after_unforeseen(attempt, error)
            return None
        _wait(attempt, f"storage or network: {os.strerror(error.errno or 0)}", is_failure=False)
        return None
    except LEDGER_AWAY as error:
        _wait(attempt, f"the ledger did not answer ({type(error).__name__})", is_failure=False)
        return None
    except Exception as error:  # noqa: BLE001 - the boundary: whatever a stage raises, the study must not be lost
        _after_unforeseen(attempt, error)
        return None
    log.info("finished", seconds=round(time.time() - started_at, 3))
    if job.stage is Stage.DELIVER:
        pipeline.forget(job)
        return None
    return attempt.record(lambda: progress.advance(database, job, NEXT_STAGE[job.stage], time.time()))


def _tidy(pipeline: Pipeline) -> None:
    try:
        pipeline.tidy()
    except OSError as error:  # another message's end tries again
        log.warning("results of ended jobs not removed", error=os.strerror(error.errno or 0))


def _after_unforeseen(attempt: _Attempt, error: Exception) -> None:
    where = traceback.extract_tb(error.__traceback__)[-1]
    # An unforeseen error's text may quote a header: its type and place are told, never its text.
    told = f"{type(error).__name__} in {where.name} ({where.filename.rpartition('/')[2]}:{where.lineno})"
    hint = "a defect of pirtad: please report it; the images are kept"
    _after_failure(attempt, "unforeseen", told, hint)


def _after_failure(attempt: _Attempt, code: str, told: str, hint: str) -> None:
    if attempt.job.failures + 1 >= attempt.settings.max_attempts:
        _fail(attempt, code, told, hint)
    else:
        _wait(attempt, told, is_failure=True)


def _wait(attempt: _Attempt, told: str, *, is_failure: bool) -> None:
    seconds = backoff_s(attempt.job.attempt, attempt.settings.backoff_base_s, attempt.settings.backoff_cap_s)
    _defer(attempt, time.time() + seconds, told, is_failure=is_failure, is_told=True, is_for_shares=False)
    log.warning("attempt brought no result", reason=told, attempt=attempt.job.attempt, next_in_s=seconds)


def _fail(attempt: _Attempt, code: str, reason: str, hint: str) -> None:
    _shelve(attempt, JobState.FAILED, code, reason, hint or "see `pirtad show`, then `pirtad retry`")
    log.error("failed", code=code, reason=reason)


def _defer(
    attempt: _Attempt, until: float, told: str, *, is_failure: bool, is_told: bool, is_for_shares: bool = True
) -> None:
    database, job = attempt.database, attempt.job
    attempt.record(
        lambda: progress.defer(
            database, job, until, told, time.time(), is_failure=is_failure, is_told=is_told, is_for_shares=is_for_shares
        )
    )


def _shelve(attempt: _Attempt, state: JobState, code: str, reason: str, hint: str) -> None:
    database, job = attempt.database, attempt.job
    attempt.record(lambda: progress.shelve(database, job, state, code, reason, hint, time.time()))
