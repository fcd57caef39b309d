"""Modality Worklist C-FIND as SCU (PS3.4 annex K): what the hospital planned for this patient and study.

Time is brain: the answer is complete within the timeout, or there is none. A part of the answers is never used, since
the one that contradicts them may be missing.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pydicom.config
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import ModalityWorklistInformationFind

from pirtad.worker.registry.matching import Asked
from pirtad.worker.requestor import keep_answers
from pirtad.worker.settings import WorklistSettings

MOST_ANSWERS = 100
"""A worklist that answers with more ignores what it was asked for. Chosen."""

_PENDING = (0xFF00, 0xFF01)  # PS3.4 K.4.1.1.4: matches continue
_SUCCESS = 0x0000

# Return keys (PS3.4 table K.6-1): what says whose entry it is, and what the registry has a place for.
_RETURNED = (
    *("PatientName", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("AdditionalPatientHistory", "MedicalAlerts", "StudyInstanceUID", "RequestedProcedureID"),
    *("ReasonForTheRequestedProcedure", "AdmittingDiagnosesDescription"),
)


class WorklistSilent(Exception):
    """The worklist gave no complete answer; the text says why, in words for a report."""


def ask(asked: Asked, settings: WorklistSettings) -> tuple[Dataset, ...]:
    """Every entry that the worklist has for this patient and, where the images state one, this accession number.

    What it answers is not trusted to be what was asked for: see `matching`. Returns or raises within
    `settings.timeout_s`; WorklistSilent when there was no complete answer.
    """
    given_up = threading.Event()
    outcome: Future[tuple[Dataset, ...]] = Future()

    def enquire() -> None:
        try:
            outcome.set_result(tuple(_answers(asked, settings, given_up)))
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            outcome.set_exception(error)

    # pynetdicom has a timeout for each step and a name's lookup has none: only a wait from outside bounds them all.
    threading.Thread(target=enquire, name="worklist", daemon=True).start()
    try:
        return outcome.result(settings.timeout_s)
    except TimeoutError as error:
        given_up.set()
        raise WorklistSilent(f"no complete answer within {settings.timeout_s:g} s") from error


def query(asked: Asked) -> Dataset:
    """The C-FIND identifier. Patient data."""
    identifier = Dataset()
    if not (asked.patient_id + asked.accession_number).isascii():
        identifier.SpecificCharacterSet = "ISO_IR 192"
    _add(identifier, "PatientID", asked.patient_id)
    _add(identifier, "AccessionNumber", asked.accession_number)
    for keyword in _RETURNED:
        _add(identifier, keyword, "")
    code = Dataset()
    for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"):
        _add(code, keyword, "")
    identifier.ReasonForRequestedProcedureCodeSequence = [code]
    step = Dataset()  # every worklist wants one; any step will do
    for keyword in ("Modality", "ScheduledProcedureStepStartDate"):
        _add(step, keyword, "")
    identifier.ScheduledProcedureStepSequence = [step]
    return identifier


def _add(dataset: Dataset, keyword: str, value: str) -> None:
    """An element whose value is not validated: pydicom would warn of an odd PatientID by quoting it."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    dataset.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=pydicom.config.IGNORE))


def _answers(asked: Asked, settings: WorklistSettings, given_up: threading.Event) -> Iterator[Dataset]:
    opened: list[socket.socket] = []
    association = _associated(settings, opened)
    try:
        if not association.is_established:
            raise WorklistSilent(_why_not(association, connected=bool(opened)))
        responses = association.send_c_find(query(asked), ModalityWorklistInformationFind)
        for number, (status, entry) in enumerate(responses, start=1):
            if given_up.is_set():
                raise WorklistSilent("no complete answer in time")
            code = status.get("Status")
            if code is None:
                raise WorklistSilent("it did not answer the query")
            if code == _SUCCESS:
                association.release()
                return
            if code not in _PENDING:
                raise WorklistSilent(f"it answered with status 0x{code:04X}")
            if entry is None:
                raise WorklistSilent("it sent an entry that can't be read")
            if number > MOST_ANSWERS:
                raise WorklistSilent(f"it sent more than {MOST_ANSWERS} entries")
            yield entry
        raise WorklistSilent("it ended the association")
    finally:
        if association.is_established:
            association.abort()
        for connection in opened:  # pynetdicom leaves this to the garbage collector where the peer went away first
            connection.close()


def _associated(settings: WorklistSettings, opened: list[socket.socket]) -> Association:
    """An association, established or not; `opened` gets its socket once TCP connected."""
    # pynetdicom would print queries and answers, patients and all, where a log is set to be talkative.
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    entity = AE(ae_title=settings.calling_ae_title)
    entity.connection_timeout = entity.acse_timeout = settings.timeout_s
    entity.dimse_timeout = entity.network_timeout = settings.timeout_s
    entity.add_requested_context(ModalityWorklistInformationFind)

    def connected(event: evt.Event) -> None:
        connection = event.assoc.dul.socket.socket
        # It reads a PDU with blocking calls: a peer that stops in the middle of one would hold the thread for ever.
        connection.settimeout(settings.timeout_s)
        opened.append(connection)

    association = entity.associate(
        settings.host, settings.port, ae_title=settings.ae_title, evt_handlers=[(evt.EVT_CONN_OPEN, connected)]
    )
    keep_answers(association)
    return association


def _why_not(association: Association, *, connected: bool) -> str:
    if not connected:
        return "there was no connection to it"
    if association.is_rejected:
        return "it rejected the association"
    if association.rejected_contexts and not association.accepted_contexts:
        return "it offers no modality worklist"
    return "it did not answer the association request"
