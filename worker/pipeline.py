"""The pipeline, top to bottom.

    receive    pirtad.daemon.listener     C-STORE; Success only after the next two
    keep       pirtad.daemon.spool        bytes synced, then registered in the ledger
    look       pirtad.worker.look         what has come so far: a whole DWI and ADC map?
    assemble   pirtad.daemon.assembler    which studies are whole, or quiet for long enough
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
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import dcmread

from pirtad.inference.prepare import prepare
from pirtad.inference.prepared import Prepared, write_whole
from pirtad.inference.report.report import Report
from pirtad.worker.contract import Stage
from pirtad.worker.courier import Courier
from pirtad.worker.errors import Permanent, WorkerError
from pirtad.worker.ledger import claiming, deliveries, progress, retractions, revisions
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION, KeptObject
from pirtad.worker.ledger.retractions import Withdrawal
from pirtad.worker.lesion_mask import load_mask, save_mask
from pirtad.worker.registry.sources import gather, settled
from pirtad.worker.retract import compose_note
from pirtad.worker.revising import notes_on, predecessors_of
from pirtad.worker.selection import selection_rules
from pirtad.worker.settings import Settings
from pirtad.worker.sr.check import serialise
from pirtad.worker.sr.documents import Result, documents
from pirtad.worker.sr.identity import NARRATIVE, derive_identity
from pirtad.worker.sr.source import SourceStudy
from pirtad.worker.targets import targets_of
from pirtad.worker.workspace import ResultLost, Workspace

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
        self._targets = targets_of(settings)
        self._courier = Courier(database, settings, self._targets)
        self._workspace = Workspace(database, self._data_dir)

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
        images = {file.sop_instance_uid: self._data_dir / file.path for file in job.files}
        prepared = prepare(images.values(), selection_rules(self._settings), job.study_uid)
        background = revisions.background_of(self._database, job)
        prepared = replace(prepared, image_notes=(*notes_on(background, local_time), *prepared.image_notes))
        sources = gather(prepared, images, self._settings.worklist)
        with self._workspace.writing(job) as directory:
            sources.save(directory)
            prepared.save(directory)
        revisions.keep_used(self._database, job, (*prepared.dwi_uids, *prepared.adc_uids))

    def infer(self, job: ClaimedJob) -> None:
        """Encode -> retrieve -> measure -> generate."""
        directory = self._workspace.directory(job)
        if not Prepared.is_in(directory):
            raise ResultLost(f"what was prepared for job {job.job_id}")
        report, analysis = self.engine.draft(settled(directory, job.study_uid, self._database))
        # The settings go with the draft: its objects' UIDs follow from what made it, whatever is changed later.
        settings = self._shaping_settings()
        if earlier := retractions.earlier_notes(self._database, job):
            # The same words again are another result all the same: the withdrawn objects' UIDs are never sent again.
            settings["after"] = " ".join(earlier)
        if (revised := revisions.background_of(self._database, job).revised) is not None:
            settings["revises"] = revised.job_id
        drafted = {"report": json.loads(report.to_json()), "settings": settings}
        with self._workspace.writing(job) as directory:
            save_mask(directory / _LESION, analysis.lesion_mask)
            write_whole(directory / _REPORT, json.dumps(drafted, ensure_ascii=False, sort_keys=True).encode())
        progress.keep_report(self._database, job, report.conclusion, report.text())

    def deliver(self, job: ClaimedJob, now: datetime) -> None:
        """Compose every object once -> deliver those bytes. Closing the job is the boundary's part.

        What each destination gets, and how it goes on when one fails, is the courier's part. The error that another
        attempt may mend is raised first, and the job is shelved only once every destination is settled.

        A job whose result an operator withdraws delivers the note that says so, and nothing else.
        """
        withdrawal = retractions.withdrawal_of(self._database, job)
        failed: list[Exception] = []
        if withdrawal is None:
            objects, failed = self._composed(job, now)
            loads = {one.name: [kept for kept in objects if one.takes(kept.role)] for one in self._targets}
        else:
            note = self._note(job, withdrawal)
            loads = {name: [note] for name in self._note_destinations(job)}
        # All are on record before one is sent.
        for name, load in loads.items():
            deliveries.keep(self._database, job, name, load)
        try:
            self._courier.carry(job, loads, now.timestamp())
        except WorkerError as error:
            failed.append(error)
        if failed:
            # First what waiting mends, then what is counted, last what is final.
            raise min(failed, key=lambda error: (isinstance(error, Permanent), not isinstance(error, WorkerError)))

    def delivered_to(self, job: ClaimedJob) -> tuple[str, ...]:
        """Names of the destinations that a delivered job's objects went to."""
        if retractions.withdrawal_of(self._database, job) is not None:
            return self._note_destinations(job)
        return self.destination_names

    def forget(self, job: ClaimedJob) -> None:
        """Remove what only the stages needed; images, ledger and the sent object stay."""
        self._workspace.forget(job)

    def tidy(self) -> None:
        """Do so for jobs that ended otherwise: killed at that moment, or superseded."""
        self._workspace.tidy()

    @property
    def destination_names(self) -> tuple[str, ...]:
        """The destinations' names in the ledger."""
        return tuple(one.name for one in self._targets)

    def _note_destinations(self, job: ClaimedJob) -> tuple[str, ...]:
        """Where a note goes that withdraws the job's result: where its objects are. If the settings name none of
        those, everywhere: an operator said that it is the same archive under another name."""
        having = deliveries.destinations_with(self._database, job)
        return tuple(name for name in self.destination_names if name in having) or self.destination_names

    def _composed(self, job: ClaimedJob, now: datetime) -> tuple[list[KeptObject], list[Exception]]:
        """The objects of this job, all on disk before one is sent; and what kept others than the
        narrative from being composed, which keeps nothing else back.

        Of an earlier attempt with the same inputs its bytes, else new ones.
        """
        directory = self._workspace.directory(job)
        if not (directory / _REPORT).exists():
            return self._left(job), []
        draft = (directory / _REPORT).read_bytes()
        drafted = json.loads(draft)
        report = Report.from_json(json.dumps(drafted["report"]))
        prepared = Prepared.load(directory)
        earlier = deliveries.composed_objects(self._database, job)
        result: Result | None = None
        objects: list[KeptObject] = []
        failed: list[Exception] = []
        wanted = documents(
            measurements=any(one.measurements for one in self._targets),
            picture=any(one.picture for one in self._targets) and prepared.pair is not None,
        )
        predecessors = predecessors_of(revisions.background_of(self._database, job).revised, self._data_dir)
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
            # Not one of the facts that UIDs are derived from: all objects of a result share a series.
            identity = replace(identity, predecessor=predecessors.get(role))
            kept = earlier.get(role)
            if kept is None or kept.sop_instance_uid != identity.sop_instance_uid or not self._is_usable(kept):
                result = result or self._result(job, report, prepared)
                try:
                    content = serialise(compose(result, identity), source=result.source)
                    kept = self._written(job, role, identity.sop_instance_uid, content)
                except claiming.ClaimLost:
                    raise
                except Exception as error:  # whatever is wrong with another object, the narrative must arrive
                    if role == NARRATIVE:
                        raise
                    failed.append(error)
                    continue
            objects.append(kept)
        return objects, failed

    def _note(self, job: ClaimedJob, withdrawal: Withdrawal) -> KeptObject:
        """The rejection note of this job's result, on disk before it is sent."""
        kept = deliveries.composed_objects(self._database, job).get(RETRACTION)
        if kept is None or not self._is_usable(kept):
            uid, content = compose_note(
                self._data_dir,
                retractions.delivered_objects(self._database, job),
                withdrawal,
                requested_at=local_time(withdrawal.requested_at),
                pirtad_version=version("pirtad"),
            )
            kept = self._written(job, RETRACTION, uid, content)
        return kept

    def _left(self, job: ClaimedJob) -> list[KeptObject]:
        """What is on record of a job whose draft is gone, as after a restore without the work directory."""
        kept = list(deliveries.composed_objects(self._database, job).values())
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
        return Result(report, source, prepared.pair, load_mask(self._workspace.directory(job) / _LESION))

    def _written(self, job: ClaimedJob, role: str, sop_instance_uid: str, content: bytes) -> KeptObject:
        path = Path("results") / f"{sop_instance_uid}.dcm"
        with self._workspace.writing(job, path.parent) as directory:
            write_whole(directory / path.name, content)
        return KeptObject(role, sop_instance_uid, hashlib.sha256(content).hexdigest(), str(path))

    def _is_usable(self, kept: KeptObject) -> bool:
        """Delivered somewhere, so that no other may take its place; or whole on disk."""
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


NEXT_STAGE = {Stage.PREPARE: Stage.INFER, Stage.INFER: Stage.DELIVER}


def local_time(now: float) -> datetime:
    """POSIX seconds in this machine's time zone, in which its scanners' study times are: a report dated in UTC would
    sort before its images east of Greenwich."""
    return datetime.fromtimestamp(now, tz=UTC).astimezone()
