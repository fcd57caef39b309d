"""A look at a study that is still being received: its new headers are read, each once, and what they show is noted.

Runs in the prepare workers, off the path of receiving, since the listener does not know what an image means.
"""

from __future__ import annotations

import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from pirtad.inference.dicom.choosing.rules import SelectionRules
from pirtad.inference.dicom.plain import plain_text
from pirtad.inference.dicom.reading.headers import series_of
from pirtad.inference.dicom.reading.instances import ReadFile, read_file
from pirtad.inference.errors import StudyNotUsable
from pirtad.worker import pacs_counts
from pirtad.worker.contract import Priority
from pirtad.worker.declared import declared_in
from pirtad.worker.ledger import looks, priority
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.looks import Counts, LookFile, Seen
from pirtad.worker.selection import selection_rules
from pirtad.worker.settings import Settings
from pirtad.worker.wholeness import seen_in

log = structlog.get_logger(__name__)

_HEADERS_KEPT = 20_000
"""Chosen: some exams of thousands of images at a time; a header's facts take some kilobytes."""
_KEPT_S = 120.0
"""Chosen: a study that comes is looked at every second; one that was not for so long is closed, or is read again."""


class Looker:
    """Looks at studies; keeps what it read of files, which never change once they have their name."""

    def __init__(self, settings: Settings, database: Database, steady: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._database = database
        self._data_dir = settings.storage.data_dir
        self._rules: SelectionRules = selection_rules(settings)
        self._steady = steady  # seconds that never go back
        self._read: OrderedDict[str, tuple[ReadFile | None, float]] = OrderedDict()  # and when it was last used
        self._asked_for_priority: OrderedDict[str, None] = OrderedDict()

    def look(self, study_uid: str) -> None:
        """Look at what the ledger has of the study, and note it there; nothing for a study without images.

        OSError if a file can't be read at this moment; SQLAlchemyError if the ledger can't be reached.
        """
        started_at = time.monotonic()
        self._forget()
        files = looks.files_of(self._database, study_uid)
        if not files:
            return
        known = len(self._read)
        self._see_priority(study_uid, files)
        seen = self._seen(study_uid, files)
        looks.keep_look(self._database, study_uid, files, seen, time.time())
        log.info(
            "looked", study_uid=study_uid, images=len(files), headers_read=max(0, len(self._read) - known),
            clear=seen.is_clear, counts=str(seen.counts), reason=seen.reason_code,
            seconds=round(time.monotonic() - started_at, 3),
        )  # fmt: skip

    def _seen(self, study_uid: str, files: tuple[LookFile, ...]) -> Seen:
        try:
            series = series_of(read for file in _by_path(files) if (read := self._header(file)) is not None)
            return seen_in(series, self._rules, declared_in, lambda wanted: self._in_archive(study_uid, wanted))
        except StudyNotUsable as error:
            code, reason = error.code, error.reason
        except OSError as error:
            if error.errno is not None:
                raise
            # Not the system's: how pydicom says that a nested sequence makes no sense.
            code, reason = "unforeseen", _place(error)
        except Exception as error:  # noqa: BLE001 - the boundary: what one study's headers raise must not end the rest
            code, reason = "unforeseen", _place(error)
        every = frozenset(file.series_uid for file in files)
        return Seen(False, Counts.UNSTATED, (), every, frozenset(), code, reason)

    def _header(self, file: LookFile) -> ReadFile | None:
        read = self._read[file.path][0] if file.path in self._read else read_file(self._data_dir / file.path)
        self._read[file.path] = read, self._steady()
        self._read.move_to_end(file.path)
        while len(self._read) > _HEADERS_KEPT:
            self._read.popitem(last=False)
        return read

    def _forget(self) -> None:
        """Let go what was not used lately, which stands first."""
        before = self._steady() - _KEPT_S
        while self._read and next(iter(self._read.values()))[1] < before:
            self._read.popitem(last=False)

    def _in_archive(self, study_uid: str, series_uids: tuple[str, ...]) -> Mapping[str, int]:
        if not self._settings.assembly.ask_pacs_counts:
            return {}
        return pacs_counts.images_in_archive(self._settings.pacs, study_uid, series_uids)

    def _see_priority(self, study_uid: str, files: tuple[LookFile, ...]) -> None:
        """What the header of one image of each series says of the urgency, asked once."""
        wanted = {text.upper() for text in self._settings.priority.stat_procedure_priorities}
        for file in {file.series_uid: file for file in files}.values():
            if file.series_uid in self._asked_for_priority:
                continue
            self._asked_for_priority[file.series_uid] = None
            while len(self._asked_for_priority) > _HEADERS_KEPT:
                self._asked_for_priority.popitem(last=False)
            stated = requested_priorities(self._data_dir / file.path) & wanted
            if stated:
                because = f"RequestedProcedurePriority {min(stated)}"
                rules = self._settings.priority
                priority.set_priority(
                    self._database, study_uid, Priority.STAT, because, rules.objective_s(Priority.STAT), time.time()
                )


def requested_priorities(path: Path) -> set[str]:
    """RequestedProcedurePriority (0040,1003) of an image: of its own, and of the requests that it answers."""
    try:
        header = dcmread(
            path,
            stop_before_pixels=True,
            specific_tags=["RequestedProcedurePriority", "RequestAttributesSequence"],
        )
        items = [header, *(header.get("RequestAttributesSequence") or ())]
        return {plain_text(item, "RequestedProcedurePriority").upper() for item in items} - {""}
    except (InvalidDicomError, ValueError, TypeError, AttributeError, EOFError):
        return set()  # what the header is worth is the look's own business


def _by_path(files: Iterable[LookFile]) -> list[LookFile]:
    return sorted(files, key=lambda file: file.path)


def _place(error: Exception) -> str:
    """Type and place; an unforeseen error's text may quote a header."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {where.name} ({where.filename.rpartition('/')[2]}:{where.lineno})"
