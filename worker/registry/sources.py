"""The registry's way through the stages: prepare asks the worklist, infer adds what was given and settles it.

Facts given while a study waits for its draft count, so nothing is settled before the draft begins; from then on none
are taken (`ledger.registry_facts`), and the document's UIDs follow from what was settled.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import structlog

from pirtad.inference.dicom.reading.part10 import read_header
from pirtad.inference.prepared import Prepared, write_whole
from pirtad.inference.report.report import Registry
from pirtad.worker.ledger import registry_facts
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.registry_facts import Giving
from pirtad.worker.registry.facts import given_facts
from pirtad.worker.registry.matching import asked_of, fitting
from pirtad.worker.registry.merge import GIVEN_BY, HEADER, WORKLIST, Source, merge
from pirtad.worker.registry.worklist import WorklistSilent, ask
from pirtad.worker.settings import WorklistSettings

_FILE = "registry.json"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """What is known when a study has been prepared.

    header: from the images. image_notes: of the images alone. worklist: None where it says nothing of use.
    worklist_notes: what a reader of the report must know of it.
    """

    header: Registry
    image_notes: tuple[str, ...] = ()
    worklist: Registry | None = None
    worklist_notes: tuple[str, ...] = field(default=())

    def save(self, directory: Path) -> None:
        """Write into an existing directory, whole or not at all."""
        write_whole(directory / _FILE, json.dumps(asdict(self), ensure_ascii=False).encode())

    @classmethod
    def load(cls, directory: Path) -> Sources | None:
        """The inverse of `save`; None where an earlier version prepared the study."""
        if not (directory / _FILE).exists():
            return None
        raw = json.loads((directory / _FILE).read_bytes())
        return cls(
            header=Registry(**raw["header"]),
            image_notes=tuple(raw["image_notes"]),
            worklist=None if raw["worklist"] is None else Registry(**raw["worklist"]),
            worklist_notes=tuple(raw["worklist_notes"]),
        )


def gather(prepared: Prepared, images: Mapping[str, Path], settings: WorklistSettings) -> Sources:
    """What the images say, and the worklist where it is to be asked. Takes `settings.timeout_s` at most.

    images: the study's files by SOP Instance UID; one that the DWI was taken from says whose the study is.
    """
    header = Sources(prepared.registry, prepared.image_notes)
    if not settings.enabled:
        return header
    read = read_header(images[prepared.dwi_uids[0]])
    assert read is not None  # an image that was chosen is no DICOMDIR
    asked = asked_of(read.header)
    if not asked.patient_id:
        return replace(header, worklist_notes=("The worklist was not asked: the images state no PatientID.",))
    try:
        entries = ask(asked, settings)
    except WorklistSilent as silent:
        log.warning("the worklist told nothing", reason=str(silent))
        told = f"The worklist told nothing of the patient: {silent}."
        return replace(header, worklist_notes=(told,))
    registry, notes = fitting(entries, asked)
    log.info("worklist asked", entries=len(entries), used=registry is not None, doubts=len(notes))
    return replace(header, worklist=registry, worklist_notes=notes)


def settled(directory: Path, study_uid: str, database: Database) -> Prepared:
    """The prepared study as its report is to be drafted, in its directory too: the document is composed from there.

    Done again it comes to the same, or to what was given since.
    """
    prepared = Prepared.load(directory)
    known = Sources.load(directory)
    if known is None:  # an earlier version prepared it: all it knew was the header
        known = Sources(prepared.registry, prepared.image_notes)
        known.save(directory)
    final = settle(prepared, known, registry_facts.newest(database, study_uid))
    if (final.registry, final.image_notes) != (prepared.registry, prepared.image_notes):
        final.save(directory)
    return final


def settle(prepared: Prepared, known: Sources, giving: Giving | None) -> Prepared:
    """The study with the registry that its report is drafted from, and what the reader must know of that. Pure."""
    merging = [Source(HEADER, known.header)]
    notes = list(known.worklist_notes)
    if known.worklist is not None:
        merging.insert(0, Source(WORKLIST, known.worklist))
    if giving is not None:
        facts, giver = given_facts(giving.facts), GIVEN_BY[giving.via]
        if facts.patient_id is None or _same_patient(facts.patient_id, prepared.patient_id):
            registry = Registry(facts.age_years, facts.sex, facts.presentation, facts.nihss, facts.history)
            merging.insert(0, Source(giver, registry))
        else:
            notes.append(f"Registry: the facts from {giver} name another PatientID than the images; none was used.")
    registry, merge_notes = merge(merging)
    return replace(prepared, registry=registry, image_notes=(*known.image_notes, *notes, *merge_notes))


def _same_patient(given: str, images: str | None) -> bool:
    return unicodedata.normalize("NFKC", given).strip() == (images or "")
