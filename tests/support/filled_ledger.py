"""A ledger with a study in every state, put there through the ledger's own functions."""

from __future__ import annotations

from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger import claiming, deliveries, operating, progress, receiving, registering, retractions
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION, KeptObject
from pirtad.worker.ledger.events import note
from pirtad.worker.ledger.registering import ReceivedInstance
from pirtad.worker.rejection import RejectionReason

ROOT = "1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652"
REPORT = """AI DRAFT - NOT REVIEWED

Clinical Presentation: not provided NIHSS: not provided
Past Medical History: not provided
Findings: There is strong wedge-shaped vascular territorial diffusion restriction in the anterior circulation territory.
Impression: Acute ischaemic infarct, anterior circulation territory.

Similar patient reports:
[1] Similarity Score: 0.97 (case sim-0412)
There is strong wedge-shaped vascular territorial diffusion restriction in the anterior circulation territory.
[2] Similarity Score: 0.94 (case sim-0077)
There is mild small diffusion restriction in the anterior circulation territory.
"""


def uid_of(state: StudyState) -> str:
    """The study that is in this state."""
    return f"{ROOT}.{list(StudyState).index(state) + 1}"


def fill(database: Database, now: float, nasty: str = "") -> None:
    """One study in each state, received within the hour before `now`; `nasty` goes wherever free text can."""
    # The one that waits for a worker comes last: a worker takes whoever's turn it is.
    for number, state in sorted(enumerate(StudyState), key=lambda one: one[1] is StudyState.QUEUED):
        _bring_to(database, uid_of(state), state, now - 60.0 * (50 - 5 * number), nasty)
    note(database, now - 120, "empty_association", f"CT1 sent nothing {nasty}")


def receive(database: Database, study_uid: str, at: float, images: int = 2, series: int = 2) -> None:
    """Register so many series of so many images each."""
    for one in range(1, series + 1):
        for number in range(1, images + 1):
            sop_uid = f"{study_uid}.{one}.{number}"
            registering.register(
                database,
                ReceivedInstance(
                    study_uid=study_uid,
                    series_uid=f"{study_uid}.{one}",
                    sop_instance_uid=sop_uid,
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                    transfer_syntax_uid="1.2.840.10008.1.2.1",
                    modality="MR",
                    sha256=f"{one}{number:063d}",
                    size_bytes=131072,
                    path=f"spool/{sop_uid}.dcm",
                    calling_ae="SCANNER1",
                ),
                at,
            )


def claimed(database: Database, job_id: str, stage: Stage, at: float) -> ClaimedJob:
    """A worker takes the job up."""
    job = claiming.claim(database, JobMessage(job_id, stage), "host:1:1:1", at, 60.0, lambda _owner: False)
    assert job is not None
    return job


PACS = "ORTHANC@127.0.0.1:4242"


def withdraw(database: Database, study_uid: str, job_id: str, at: float, why: str) -> None:
    """Take a reported study through its withdrawal, the note delivered."""
    retractions.request(database, study_uid, RejectionReason.QUALITY, why, PACS, at)
    deliver = claimed(database, job_id, Stage.DELIVER, at + 1)
    note = KeptObject(RETRACTION, f"2.25.{int(job_id, 16) % 10**20 + 1}", "cd" * 32, "results/note.dcm")
    deliveries.keep(database, deliver, PACS, [note])
    deliveries.mark_delivered(database, deliver, PACS, note, 0x0000, at + 2)
    progress.finish(database, deliver, PACS, at + 2)


def report(database: Database, job_id: str, at: float, text: str = REPORT) -> None:
    """Take a queued job through its three stages of 2, 30 and 1 s to a delivered report."""
    prepare = claimed(database, job_id, Stage.PREPARE, at)
    progress.advance(database, prepare, Stage.INFER, at + 2)
    infer = claimed(database, job_id, Stage.INFER, at + 3)
    progress.keep_report(database, infer, "anterior", text)
    progress.advance(database, infer, Stage.DELIVER, at + 33)
    deliver = claimed(database, job_id, Stage.DELIVER, at + 34)
    sent = KeptObject("narrative", f"2.25.{int(job_id, 16) % 10**20}", "ab" * 32, "results/x.dcm")
    deliveries.keep(database, deliver, "ORTHANC@127.0.0.1:4242", [sent])
    deliveries.mark_delivered(database, deliver, "ORTHANC@127.0.0.1:4242", sent, 0x0000, at + 35)
    progress.finish(database, deliver, "ORTHANC@127.0.0.1:4242", at + 35)


def _bring_to(database: Database, study_uid: str, state: StudyState, at: float, nasty: str) -> None:
    receive(database, study_uid, at)
    if state is StudyState.RECEIVING:
        return
    _, job_id = receiving.open_job(database, study_uid, at + 10)
    begun = at + 12
    match state:
        case StudyState.RUNNING:
            claimed(database, job_id, Stage.PREPARE, begun)
        case StudyState.WAITING:
            why = f"no TCP connection to ORTHANC at 127.0.0.1:4242 {nasty}".rstrip()
            job = claimed(database, job_id, Stage.PREPARE, begun)
            progress.defer(database, job, at + 3600, why, begun + 1, is_failure=False)
        case StudyState.REPORTED:
            report(database, job_id, begun, f"{REPORT}{nasty}")
        case StudyState.WITHDRAWING:
            report(database, job_id, begun, REPORT)
            why = f"Motion made it useless. {nasty}".rstrip()
            retractions.request(database, study_uid, RejectionReason.QUALITY, why, PACS, begun + 40)
            job = claimed(database, job_id, Stage.DELIVER, begun + 41)
            progress.defer(database, job, at + 3600, "no TCP connection to ORTHANC", begun + 42, is_failure=False)
        case StudyState.WITHDRAWN:
            report(database, job_id, begun, REPORT)
            withdraw(database, study_uid, job_id, begun + 40, f"Motion made it useless. {nasty}".rstrip())
        case StudyState.SET_ASIDE:
            job = claimed(database, job_id, Stage.PREPARE, begun)
            reason = (
                f"no DWI series with b between 800 and 1500 s/mm2: 2 series looked at, none is one {nasty}".rstrip()
            )
            hint = f"Send the diffusion series, then retry. {nasty}".rstrip()
            progress.shelve(database, job, JobState.SET_ASIDE, "no_dwi", reason, hint, begun + 1)
        case StudyState.FAILED:
            job = claimed(database, job_id, Stage.PREPARE, begun)
            reason = "ORTHANC at 127.0.0.1:4242 rejected the association: Called AE title not recognised"
            hint = "check the AE titles on both sides"
            progress.shelve(database, job, JobState.FAILED, "rejected", reason, hint, begun + 1)
        case StudyState.CANCELLED:
            operating.cancel(database, study_uid, begun)
