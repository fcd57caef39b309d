"""Carries out retention: asks the policy, puts removals on record, and unlinks their files.

Runs in a thread of the listener's process, and for one pass in `pirtad clean`; both at once is harmless, for whoever
has the study's row decides. Killed between the ledger's word and the last file, the next pass goes on where it ended.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from pirtad.worker.ledger import retention as ledger
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.retention import Removed, What
from pirtad.worker.ledger.retention_facts import studies_on_disk
from pirtad.worker.retention import DAY_S, REST_S, Kept, Planned, Why, kept_counts, plan, why_kept
from pirtad.worker.retention_settings import RetentionSettings
from pirtad.worker.settings import StorageSettings

log = structlog.get_logger(__name__)

# Chosen: between the two marks, retention's and the one at which images are refused, there should be room for what
# arrives in so long.
_EVERY_S = 30.0


class NoSpool(Exception):
    """The data directory's spool is not there: another host's, or not mounted. Nothing is put on record as removed."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a pass would do. kept: studies that stay whatever their age, by why."""

    planned: tuple[Planned, ...]
    kept: dict[Kept, int]
    free_bytes: int


class Retention:
    """The passes over one data directory. `run` it in a thread of its own."""

    def __init__(
        self,
        rule: RetentionSettings,
        storage: StorageSettings,
        database: Database,
        clock: Callable[[], float],
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._rule = rule
        self._data_dir = storage.data_dir.absolute()
        self._database = database
        self._clock = clock
        self._free_bytes = free_bytes or self._disk_free_bytes
        self._is_late = 0 < rule.free_below_bytes <= storage.min_free_bytes
        self._last_error = ""

    def run(self, stop: threading.Event, interval_s: float = _EVERY_S) -> None:
        """A pass at once, and then ever again until told to stop. Trouble is told once; the next pass tries again."""
        if self._is_late:
            log.warning("retention.free_below_bytes is not above storage.min_free_bytes: images are refused first")
        while not stop.is_set():
            try:
                for one in self.clean(stop):
                    log.info(
                        "removed",
                        study_uid=one.study_uid,
                        what=str(one.what),
                        files=one.files,
                        size_bytes=one.size_bytes,
                    )
                self._last_error = ""
            except (SQLAlchemyError, OSError, NoSpool) as error:
                self._tell(error)
            stop.wait(interval_s)

    def outlook(self) -> Outlook:
        """What a pass would do now, and why the rest stays; changes nothing."""
        now, free_bytes = self._clock(), self._free_bytes()
        studies = studies_on_disk(self._database)
        return Outlook(plan(studies, free_bytes, self._rule, now), kept_counts(studies, now), free_bytes)

    def clean(self, stop: threading.Event | None = None) -> list[Removed]:
        """One pass; what was put on record as removed. `NoSpool`, SQLAlchemyError, OSError.

        For space a study is removed only while too little is free, whatever was planned: the disk is asked each time.
        """
        self._require_spool()
        self.finish()
        done: list[Removed] = []
        for planned in self._planned():
            if stop is not None and stop.is_set():
                return done
            if planned.why is Why.WATERMARK and self._free_bytes() >= self._rule.free_below_bytes:
                break
            now = self._clock()
            removed = ledger.remove_images(
                self._database, planned.study_uid, planned.why, now, partial(why_kept, now=now)
            )
            if removed is not None:
                self._finish_one(removed.removal_id, removed.what)
                done.append(removed)
        if self._rule.keep_results_days:
            now = self._clock()
            done += ledger.remove_results(self._database, now - self._rule.keep_results_days * DAY_S, now)
            self.finish()
        return done

    def forget(self, study_uid: str) -> Removed | None:
        """What an operator gives up; see `worker.ledger.retention.forget`. `NotPossible`, and as `clean`."""
        self._require_spool()
        removed = ledger.forget(self._database, study_uid, self._clock())
        self.finish()
        return removed

    def finish(self) -> None:
        """Unlink what is on record as removed."""
        for one in ledger.pending(self._database):
            self._finish_one(one.removal_id, one.what)

    def _planned(self) -> Iterable[Planned]:
        rule, now = self._rule, self._clock()
        if not rule.age_days and not rule.free_below_bytes:
            return ()
        free_bytes = self._free_bytes()
        # While there is space enough, only what is old is looked at.
        rest_s = REST_S if free_bytes < rule.free_below_bytes else max(REST_S, rule.age_days * DAY_S)
        if not rule.age_days and free_bytes >= rule.free_below_bytes:
            return ()
        return plan(studies_on_disk(self._database, reported_by=now - rest_s), free_bytes, rule, now)

    def _finish_one(self, removal_id: int, what: What) -> None:
        is_last = False
        trash: list[Path] = []
        while not is_last:
            with ledger.unlinking(self._database, removal_id, self._clock()) as batch:
                files = [self._data_dir / path for path in batch.paths]
                for file in files:
                    file.unlink(missing_ok=True)
                for directory in {file.parent for file in files}:
                    _sync(directory)
                    if what is What.IMAGES:
                        with suppress(OSError):  # other images of the study are in it
                            directory.rmdir()
                if batch.is_last and what is What.IMAGES:
                    trash = self._set_aside(batch.ended_jobs)
                is_last = batch.is_last
        for directory in trash:
            shutil.rmtree(directory, ignore_errors=True)

    def _set_aside(self, job_ids: Iterable[str]) -> list[Path]:
        """Give the work directories of jobs that are over a name that no job has; what is in them is made of images.

        A worker removes what is named so, should this process die before it does.
        """
        work = self._data_dir / "work"
        found = []
        for job_id in job_ids:
            with suppress(FileNotFoundError):
                found.append((work / job_id).replace(work / f".trash-{job_id}"))
        return found

    def _require_spool(self) -> None:
        if not (self._data_dir / "spool").is_dir():
            raise NoSpool(f"there is no spool in {self._data_dir}: run this where the listener runs")

    def _disk_free_bytes(self) -> int:
        return shutil.disk_usage(self._data_dir).free

    def _tell(self, error: Exception) -> None:
        """Type or number alone: the texts of a database's errors are long, and those of files name paths."""
        told = os.strerror(error.errno or 0) if isinstance(error, OSError) else type(error).__name__
        if told != self._last_error:
            log.error("retention stopped, trying again", error=told)
        self._last_error = told


def _sync(directory: Path) -> None:
    """So that no file comes back after a power loss which the ledger has as unlinked."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:  # an earlier pass removed it, and died before it could say so
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
