"""How many images of a series the PACS has: a C-FIND at the SERIES level (PS3.4 section C.6.2, Study Root).

It answers where headers declare no number. An archive that is silent or slow costs nothing but the early start. One
that is wrong must not make a part of a series look like the whole: what is no positive number, of that very series and
study, from a query that came to its end, is no answer.
"""

from __future__ import annotations

import time

import structlog
from pydicom import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from pirtad.inference.dicom.plain import plain_text, plain_whole
from pirtad.worker.requestor import keep_answers
from pirtad.worker.settings import PacsSettings

log = structlog.get_logger(__name__)

_TIMEOUT_S = 2.0
"""Chosen: an archive on the same network answers in milliseconds, and this wait holds up a prepare worker."""
_ALL_S = 5.0
"""Chosen: for the answers about all series together, however quickly they follow one another."""
_MOST_ANSWERS = 1000
"""Chosen: more than an archive has series in a study, which are what one sends that ignores the series' UID."""
_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000


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
    deadline = time.monotonic() + _ALL_S
    try:
        for series_uid in series_uids:
            number = _told(association, study_uid, series_uid, deadline)
            if number is not None:
                found[series_uid] = number
    except (ValueError, TypeError, RuntimeError, _TooMuch) as error:
        log.warning("the PACS did not tell its number of images", error=type(error).__name__)
        association.abort()
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


class _TooMuch(Exception):
    """More answers, or later ones, than are waited for."""


def _told(association: Association, study_uid: str, series_uid: str, deadline: float) -> int | None:
    """The largest number that a query which came to its end told of the series; None where it told none."""
    numbers: list[int] = []
    responses = association.send_c_find(query(study_uid, series_uid), StudyRootQueryRetrieveInformationModelFind)
    for count, (status, answer) in enumerate(responses):
        if count > _MOST_ANSWERS or time.monotonic() > deadline:
            raise _TooMuch
        code = status.get("Status")
        if code == _SUCCESS:
            return max(numbers, default=None)
        if code not in _PENDING:
            log.warning("the PACS did not tell its number of images", status=code)
            return None
        if answer is not None and _is_of(answer, study_uid, series_uid):
            number = plain_whole(answer, "NumberOfSeriesRelatedInstances")
            if number is not None and number > 0:
                numbers.append(number)
    return None


def _is_of(answer: Dataset, study_uid: str, series_uid: str) -> bool:
    """An archive need not repeat the study's UID; where it does, it is this one."""
    study = plain_text(answer, "StudyInstanceUID") or study_uid
    return (study, plain_text(answer, "SeriesInstanceUID")) == (study_uid, series_uid)
