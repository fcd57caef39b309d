"""How many images of a series the PACS has: a C-FIND at the SERIES level (PS3.4 section C.6.2, Study Root).

It answers where headers declare no number. An archive that is silent, slow or wrong costs nothing but the early start.
"""

from __future__ import annotations

import structlog
from pydicom import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from pirtad.worker.requestor import keep_answers
from pirtad.worker.settings import PacsSettings

log = structlog.get_logger(__name__)

_TIMEOUT_S = 2.0
"""Chosen: an archive on the same network answers in milliseconds, and this wait holds up a prepare worker."""
_PENDING = (0xFF00, 0xFF01)


def images_in_archive(pacs: PacsSettings, study_uid: str, series_uids: tuple[str, ...]) -> dict[str, int]:
    """NumberOfSeriesRelatedInstances (0020,1209) of these series; those that it does not tell are left out."""
    # pynetdicom would print queries and answers where a log is set to be talkative.
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    entity = AE(ae_title=pacs.calling_ae_title)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)

    def connected(event: evt.Event) -> None:
        # It reads a PDU with blocking calls: a peer that stops in the middle of one would hold the worker for ever.
        event.assoc.dul.socket.socket.settimeout(_TIMEOUT_S)

    handlers = [(evt.EVT_CONN_OPEN, connected)]
    association = entity.associate(pacs.host, pacs.port, ae_title=pacs.ae_title, evt_handlers=handlers)
    if not association.is_established:
        log.warning("the PACS was not asked for its number of images", host=pacs.host, port=pacs.port)
        return {}
    keep_answers(association)
    found: dict[str, int] = {}
    try:
        for series_uid in series_uids:
            for status, answer in association.send_c_find(
                query(study_uid, series_uid), StudyRootQueryRetrieveInformationModelFind
            ):
                if status.get("Status") in _PENDING and answer is not None and _is_of(answer, series_uid):
                    found[series_uid] = int(answer.NumberOfSeriesRelatedInstances)
    except (ValueError, TypeError, RuntimeError) as error:
        log.warning("the PACS did not tell its number of images", error=type(error).__name__)
        return {}
    finally:
        association.release() if association.is_established else association.abort()
    return found


def query(study_uid: str, series_uid: str) -> Dataset:
    """The C-FIND identifier."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID = study_uid
    identifier.SeriesInstanceUID = series_uid
    identifier.NumberOfSeriesRelatedInstances = None
    return identifier


def _is_of(answer: Dataset, series_uid: str) -> bool:
    number = answer.get("NumberOfSeriesRelatedInstances")
    return str(answer.get("SeriesInstanceUID", "")) == series_uid and number is not None
