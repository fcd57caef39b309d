"""What a report says of how it came about, and which documents it names as its predecessors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from pirtad.worker.contract import StartedBy
from pirtad.worker.errors import Permanent
from pirtad.worker.ledger.deliveries import KeptObject
from pirtad.worker.ledger.revisions import Background, Revised
from pirtad.worker.sr.identity import MEASUREMENTS, NARRATIVE, Predecessor

_DOCUMENTS = (NARRATIVE, MEASUREMENTS)  # a picture is no SR document and has no predecessors
_HINT = "look at what the PACS has: `pirtad retract` withdraws the earlier report, `pirtad retry` then drafts anew"


def notes_on(background: Background, local_time: Callable[[float], datetime]) -> tuple[str, ...]:
    """What a reader must know of how the draft came about, a sentence each; no patient data."""
    notes = []
    if background.revised is not None:
        when = local_time(background.revised.reported_at)
        notes.append(
            f"REVISED: takes the place of the report of {when:%Y-%m-%d %H:%M}; its DWI or ADC images are not the same, "
            "since more came after it."
        )
    if background.started_by is StartedBy.WHOLE:
        notes.append(
            f"Drafted as soon as DWI and ADC were whole, {background.images} images of the exam having arrived; "
            "what was still to come is not considered."
        )
    return tuple(notes)


def predecessors_of(revised: Revised | None, data_dir: Path) -> dict[str, Predecessor]:
    """The earlier report's documents by role, for PredecessorDocumentsSequence (PS3.3 section C.17.2).

    Permanent "predecessor-lost" where one that was delivered can't be read: a second report that does not name the
    first one would look like a second finding.
    """
    if revised is None:
        return {}
    return {role: _predecessor(data_dir, kept) for role, kept in revised.objects.items() if role in _DOCUMENTS}


def _predecessor(data_dir: Path, kept: KeptObject) -> Predecessor:
    try:
        header = dcmread(data_dir / kept.path, specific_tags=list(_UIDS))
        study, series, sop_class, sop = (str(header[keyword].value) for keyword in _UIDS)
    except (FileNotFoundError, InvalidDicomError, KeyError) as error:
        raise Permanent("predecessor-lost", f"the earlier {kept.role} is not kept any more", _HINT) from error
    if sop != kept.sop_instance_uid:
        raise Permanent("predecessor-lost", f"the earlier {kept.role} is another one on disk", _HINT)
    return Predecessor(study, series, sop_class, sop)


_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
