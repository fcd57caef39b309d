"""The pipeline, top to bottom.

    receive    pirtad.daemon.listener     C-STORE; Success only after the next two
    keep       pirtad.daemon.spool        bytes synced, then registered in the ledger
    assemble   pirtad.daemon.assembler    which studies are complete
    queue      pirtad.daemon.dispatcher   a message for each job without one

    prepare    read series -> preprocess              CPU
    infer      encode -> retrieve -> measure -> generate   GPU, where there is one
    deliver    compose -> deliver -> close            network

Each stage below takes a claimed job, leaves its result on disk, and can be run again at any time with the same outcome.
What happens to a stage's errors is told in `pirtad.worker.stages`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import dcmread

from pirtad.inference.prepare import prepare
from pirtad.inference.prepared import Prepared, write_whole
from pirtad.inference.report.report import Report
from pirtad.worker.contract import Stage
from pirtad.worker.deliver import Destination, send
from pirtad.worker.errors import Permanent, WorkerError
from pirtad.worker.ledger import deliveries, jobs
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import KeptObject
from pirtad.worker.ledger.jobs import ClaimedJob
from pirtad.worker.lesion_mask import load_mask, save_mask
from pirtad.worker.selection import selection_rules
from pirtad.worker.settings import Settings
from pirtad.worker.sr.check import serialise
from pirtad.worker.sr.documents import Result, documents
from pirtad.worker.sr.identity import NARRATIVE, derive_identity
from pirtad.worker.sr.source import SourceStudy

if TYPE_CHECKING:
    from pirtad.inference.engine import Engine

_REPORT = "report.json"
_LESION = "lesion.npz"
_DRAFT_LOST_HINT = "`pirtad retry` drafts anew where nothing has arrived; else look at what the PACS has"


class Pipeline:
    """The workers' three stages."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._data_dir = settings.storage.data_dir
        pacs = settings.pacs
        self._destination = Destination(
            ae_title=pacs.ae_title,
            host=pacs.host,
            port=pacs.port,
            calling_ae_title=pacs.calling_ae_title,
            connect_timeout_s=pacs.timeout_s,
            association_timeout_s=pacs.timeout_s,
            answer_timeout_s=pacs.timeout_s,
        )

    @cached_property
    def engine(self) -> Engine:
        """Encoder, case base and language model; loaded once a process."""
        from pirtad.worker.engine import load_engine  # noqa: PLC0415 - brings torch, which only this stage needs

        return load_engine(self._settings)

    def load_models(self) -> None:
        """Load the engine now, so that no study waits for it; InferenceError if it can't be."""
        _ = self.engine

    def prepare(self, job: ClaimedJob) -> None:
        """Read series -> preprocess."""
        prepared = prepare([self._data_dir / file.path for file in job.files], selection_rules(self._settings))
        prepared.save(self._work_dir(job))

    def infer(self, job: ClaimedJob) -> None:
        """Encode -> retrieve -> measure -> generate."""
        report, analysis = self.engine.draft(Prepared.load(self._work_dir(job)))
        save_mask(self._work_dir(job) / _LESION, analysis.lesion_mask)
        # The settings go with the draft: its objects' UIDs follow from what made it, whatever is changed later.
        drafted = {"report": json.loads(report.to_json()), "settings": self._shaping_settings()}
        write_whole(self._work_dir(job) / _REPORT, json.dumps(drafted, ensure_ascii=False, sort_keys=True).encode())
        jobs.keep_report(self._database, job, report.conclusion, report.text())

    def deliver(self, job: ClaimedJob, now: datetime) -> None:
        """Compose every object once -> deliver those bytes. Closing the job is the boundary's part.

        Each object is sent on its own: that one is refused keeps no other back. Then the error that another attempt
        may mend is raised first, and the job is shelved only once every object has arrived or is refused for good.
        """
        objects, failed = self._composed(job, now)
        for kept in objects:
            if kept.is_delivered:
                continue
            try:
                outcome = send(self._data_dir / kept.path, self._destination)
            except WorkerError as error:
                failed.append(error)
                continue
            deliveries.mark_delivered(self._database, job, self.destination_name, kept, outcome.status, time.time())
        if failed:
            # First what waiting mends, then what is counted, last what is final.
            raise min(failed, key=lambda error: (isinstance(error, Permanent), not isinstance(error, WorkerError)))

    def forget(self, job: ClaimedJob) -> None:
        """Remove what only the stages needed; images, ledger and the sent object stay."""
        shutil.rmtree(self._work_dir(job), ignore_errors=True)

    @property
    def destination_name(self) -> str:
        """The destination's name in the ledger."""
        return f"{self._destination.ae_title}@{self._destination.host}:{self._destination.port}"

    def _composed(self, job: ClaimedJob, now: datetime) -> tuple[list[KeptObject], list[Exception]]:
        """The objects of this job, all on disk and on record before one is sent; and what kept others than the
        narrative from being composed, which keeps nothing else back.

        Of an earlier attempt with the same inputs its bytes, else new ones.
        """
        if not (self._work_dir(job) / _REPORT).exists():
            return self._left(job), []
        draft = (self._work_dir(job) / _REPORT).read_bytes()
        drafted = json.loads(draft)
        report = Report.from_json(json.dumps(drafted["report"]))
        prepared = Prepared.load(self._work_dir(job))
        earlier = deliveries.kept_objects(self._database, job, self.destination_name)
        result: Result | None = None
        objects: list[KeptObject] = []
        failed: list[Exception] = []
        pacs = self._settings.pacs
        wanted = documents(measurements=pacs.measurements, picture=pacs.picture and prepared.pair is not None)
        for number, (role, compose) in enumerate(wanted.items(), start=1):
            identity = derive_identity(
                study_instance_uid=job.study_uid,
                instances=[(file.sop_instance_uid, file.sha256) for file in job.files],
                registry=prepared.registry,
                config={**drafted["settings"], "draft_sha256": hashlib.sha256(draft).hexdigest()},
                provenance=report.provenance,
                content_datetime=now,
                role=role,
                instance_number=number,
            )
            kept = earlier.get(role)
            if kept is None or kept.sop_instance_uid != identity.sop_instance_uid or not self._is_usable(kept):
                result = result or self._result(job, report, prepared)
                try:
                    content = serialise(compose(result, identity), source=result.source)
                    kept = self._written(role, identity.sop_instance_uid, content)
                except Exception as error:  # whatever is wrong with another object, the narrative must arrive
                    if role == NARRATIVE:
                        raise
                    failed.append(error)
                    continue
            objects.append(kept)
        deliveries.keep(self._database, job, self.destination_name, objects)
        return objects, failed

    def _left(self, job: ClaimedJob) -> list[KeptObject]:
        """What is on record of a job whose draft is gone, as after a restore without the work directory."""
        kept = list(deliveries.kept_objects(self._database, job, self.destination_name).values())
        if not kept or not all(self._is_usable(one) for one in kept):
            raise Permanent("draft-lost", "the draft is gone, and not all of its objects are kept", _DRAFT_LOST_HINT)
        return kept

    def _result(self, job: ClaimedJob, report: Report, prepared: Prepared) -> Result:
        by_uid = {file.sop_instance_uid: self._data_dir / file.path for file in job.files}
        used = dict.fromkeys((*prepared.dwi_uids, *prepared.adc_uids))  # an image may have served for both
        headers = {uid: dcmread(by_uid[uid], stop_before_pixels=True) for uid in used}
        source = SourceStudy(
            dwi=[headers[uid] for uid in prepared.dwi_uids],
            adc=[headers[uid] for uid in prepared.adc_uids],
            b_value_s_per_mm2=prepared.b_value_s_per_mm2,
            adc_is_computed=prepared.adc_is_computed,
        )
        return Result(report, source, prepared.pair, load_mask(self._work_dir(job) / _LESION))

    def _written(self, role: str, sop_instance_uid: str, content: bytes) -> KeptObject:
        path = Path("results") / f"{sop_instance_uid}.dcm"
        (self._data_dir / path.parent).mkdir(parents=True, exist_ok=True)
        write_whole(self._data_dir / path, content)
        return KeptObject(role, sop_instance_uid, hashlib.sha256(content).hexdigest(), str(path))

    def _is_usable(self, kept: KeptObject) -> bool:
        """Delivered, so that it is not needed any more and no other may take its place; or whole on disk."""
        path = self._data_dir / kept.path
        return kept.is_delivered or (path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == kept.sha256)

    def _shaping_settings(self) -> dict[str, str]:
        """The settings that shape a result, beside the models, whose digests are in the provenance."""
        inference, model = self._settings.inference, self._settings.language_model
        return {
            "similar_cases": str(inference.similar_cases),
            "series": json.dumps(asdict(selection_rules(self._settings)), sort_keys=True),
            "language_model": f"{model.backend} {model.model}".strip(),
            "report": self._settings.report.model_dump_json(),
        }

    def _work_dir(self, job: ClaimedJob) -> Path:
        directory = self._data_dir / "work" / job.job_id
        directory.mkdir(parents=True, exist_ok=True)
        return directory


NEXT_STAGE = {Stage.PREPARE: Stage.INFER, Stage.INFER: Stage.DELIVER}


def local_time(now: float) -> datetime:
    """POSIX seconds in this machine's time zone, in which its scanners' study times are: a report dated in UTC would
    sort before its images east of Greenwich."""
    return datetime.fromtimestamp(now, tz=UTC).astimezone()
