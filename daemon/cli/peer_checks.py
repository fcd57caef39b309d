"""The checks of `pirtad doctor` that look at what other DICOM peers do for us beside storing: by association alone.

A peer's answer to the presentation context says whether it has the service; no query is sent, and no request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace

from pydicom.uid import UID
from pynetdicom.sop_class import ModalityWorklistInformationFind

from pirtad.daemon.cli.checks import Finding
from pirtad.worker.commitment import PUSH_MODEL
from pirtad.worker.deliver import Destination, associated
from pirtad.worker.errors import WorkerError
from pirtad.worker.settings import ListenerSettings, Settings
from pirtad.worker.targets import targets_of

_TIMEOUT_S = 3.0
_NOT_OFFERED = "no-presentation-context"


def worklist(settings: Settings) -> Finding:
    """The worklist, where it is asked, lets us in and has the service."""
    wanted = settings.worklist
    if not wanted.enabled:
        return Finding("worklist", True, "not asked (worklist.enabled)")
    peer = Destination(
        wanted.ae_title, wanted.host, wanted.port, wanted.calling_ae_title,
        connect_timeout_s=_TIMEOUT_S, association_timeout_s=_TIMEOUT_S, answer_timeout_s=_TIMEOUT_S,
    )  # fmt: skip
    failure = _failure(peer, UID(ModalityWorklistInformationFind))
    if failure is None:
        return Finding("worklist", True, f"{wanted.ae_title} at {wanted.host}:{wanted.port} takes queries from us")
    advice = f"check [worklist], and that it knows the AE title {wanted.calling_ae_title}; studies go on without it"
    return Finding("worklist", False, failure.reason, advice)


def commitment(settings: Settings) -> Finding:
    """Each destination that is to commit does so, and its answers, on an association of its own, would come in."""
    told: list[str] = []
    failed: list[str] = []
    for target in targets_of(settings):
        if target.commitment == "off" or not isinstance(target.peer, Destination):
            told.append(f"{target.name}: off")
            continue
        failure = _failure(_impatient(target.peer), UID(PUSH_MODEL))
        if failure is not None and (target.commitment == "required" or failure.code != _NOT_OFFERED):
            failed.append(f"{target.name}: {failure.reason}")
        elif failure is not None:
            told.append(f"{target.name}: it has none for us; what it stored counts as delivered")
        elif problems := _unanswerable(target.peer, settings.listener):
            failed.append(f"{target.name}: its answers would not come in, for {' and '.join(problems)}")
        else:
            told.append(f"{target.name}: {target.commitment}, and it has the service")
    advice = (
        'mend it, or set its commitment = "off"; until then each report waits for answers, or for good if "required"'
    )
    return Finding("commitment", not failed, "; ".join([*failed, *told]), advice if failed else "")


ALL: tuple[Callable[[Settings], Finding], ...] = (worklist, commitment)


def _unanswerable(peer: Destination, listener: ListenerSettings) -> list[str]:
    """Why the peer's N-EVENT-REPORT could not reach our listener; empty if it could, as far as settings tell."""
    problems = []
    if _is_loopback(listener.host) and not _is_loopback(peer.host):
        problems.append(f"listener.host {listener.host} is not reached from {peer.host}")
    ours = listener.ae_title.strip()
    if listener.require_called_ae_title and peer.calling_ae_title.strip() != ours:
        problems.append(f"it would call {peer.calling_ae_title.strip()}, and listener.ae_title is {ours}")
    allowed = [title.strip() for title in listener.allowed_calling_ae_titles]
    if allowed and peer.ae_title.strip() not in allowed:
        problems.append(f"listener.allowed_calling_ae_titles lacks {peer.ae_title.strip()}")
    return problems


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _impatient(peer: Destination) -> Destination:
    return replace(peer, connect_timeout_s=_TIMEOUT_S, association_timeout_s=_TIMEOUT_S, answer_timeout_s=_TIMEOUT_S)


def _failure(peer: Destination, sop_class: UID) -> WorkerError | None:
    try:
        with associated(peer, sop_class, None):
            return None
    except WorkerError as error:
        return error
