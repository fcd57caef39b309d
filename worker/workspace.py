"""Where a job's stages leave their results, `work/<job id>/`, and how a result gets there: only under the job's claim.

A worker that was stopped for longer than its lease comes back while another has gone on with the job. What it then
writes must not take the place of what the other wrote: a report that is already on its way would change under it. So
an attempt writes into a directory of its own, and its files take their names while the ledger holds the claim still.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pirtad.worker.ledger import claiming, progress
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database

_WORK = "work"
_TRASH = ".trash-"
_AT_ONCE = 500  # chosen: SQLite takes 999 parameters in every version


class ResultLost(Exception):
    """An earlier stage's result is not on disk, as after a restore without the work directory: the job starts anew."""


class Workspace:
    """The work directories of a data directory."""

    def __init__(self, database: Database, data_dir: Path) -> None:
        self._database = database
        self._data_dir = data_dir

    def directory(self, job: ClaimedJob) -> Path:
        """Where the job's results lie; there need not be one."""
        return self._data_dir / _WORK / job.job_id

    @contextmanager
    def writing(self, job: ClaimedJob, to: Path | None = None) -> Iterator[Path]:
        """A directory to write synced files into, which then take their place in `to` (the job's directory): in the
        order in which they were written, and synced, once the block ends. `ClaimLost`, and no file takes its place, if
        the job is in other hands by then. Nothing is left of a block that fails.
        """
        directory = self.directory(job)
        target = directory if to is None else self._data_dir / to
        own = directory / f".{job.stage}-{uuid.uuid4().hex}"
        _make_durable(target if to is not None else directory, self._data_dir)
        own.mkdir(parents=True)
        try:
            yield own
            with claiming.holding(self._database, job):
                for path in sorted(own.iterdir(), key=lambda path: path.stat().st_mtime_ns):
                    path.replace(target / path.name)
                _sync(target)
        finally:
            shutil.rmtree(own, ignore_errors=True)
            with suppress(OSError):  # it holds other results, as a rule; an empty one is of a job that is over
                directory.rmdir()

    def forget(self, job: ClaimedJob) -> None:
        """Remove the job's results."""
        shutil.rmtree(self.directory(job), ignore_errors=True)

    def tidy(self) -> None:
        """Remove the results of jobs that are over: of one that was killed at the end of its last stage, or that was
        superseded. Those of a job that may be tried again stay.
        """
        root = self._data_dir / _WORK
        try:
            found = [path.name for path in root.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return
        for start in range(0, len(found), _AT_ONCE):
            with progress.over(self._database, found[start : start + _AT_ONCE]) as finished:
                for job_id in finished:
                    with suppress(FileNotFoundError):  # whoever ended it removed it meanwhile
                        (root / job_id).replace(root / f"{_TRASH}{job_id}")
        for path in root.glob(f"{_TRASH}*"):
            shutil.rmtree(path, ignore_errors=True)


def _make_durable(directory: Path, below: Path) -> None:
    """Make it and its missing parents, and sync the name of each: a result must not go with a power loss that spares
    the ledger."""
    for level in (*reversed(directory.parents), directory):
        if level.is_relative_to(below) and level != below and not level.is_dir():
            level.mkdir(exist_ok=True)
            _sync(level.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
