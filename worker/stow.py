"""Delivery by STOW-RS (PS3.18 section 10.5): one object a request, exactly the file's bytes.

What an operator mends in one place, for every study at once (address, token, certificate), waits; what is the matter
with this object shelves its study. Redirects are not followed and proxies not asked: report and token go to the
configured host or nowhere.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from pirtad.worker.deliver import Outcome, meaning
from pirtad.worker.errors import DestinationRefused, DestinationUnavailable, NonConformant

_MAX_ANSWER_BYTES = 2**20
_FAILED, _STORED = "00081198", "00081199"  # Failed SOP Sequence, Referenced SOP Sequence
_UID, _FAILURE, _WARNING = "00081155", "00081197", "00081196"
# PS3.4's C-STORE status, and what some servers say in its place (45070): an earlier attempt arrived.
_DUPLICATES = (0x0111, 45070)
_OURS_TO_MEND = (301, 302, 303, 307, 308, 401, 403, 404, 405, 407, 410, 421)
_THEIR_TROUBLE = (408, 425, 429)
_TRY_AGAIN = (0x0110, 0x0213)


@dataclass(frozen=True, slots=True)
class StowService:
    """A STOW-RS service. url: its base, below which /studies is. token_file: read anew at each request."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    timeout_s: float = 30.0


def store(path: Path, service: StowService) -> Outcome:
    """Send the Part 10 file as it is; return once the service says that it has it. Raises as `deliver.send` does."""
    content = path.read_bytes()
    try:
        sop_instance_uid = str(read_file_meta_info(path).MediaStorageSOPInstanceUID)
    except (InvalidDicomError, AttributeError) as error:
        raise NonConformant("not-part-10", "the stored report is no DICOM file", "compose the report again") from error
    boundary = f"pirtad-{uuid.uuid4().hex}"
    body = b"".join(
        (
            f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(),
            content,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
        **_authorization(service),
    }
    status, answer = _post(service, body, headers)
    return _outcome(status, answer, sop_instance_uid, service)


def reach(service: StowService) -> None:
    """The service is there, its certificate is good, and our token is taken. Raises as `store` does."""
    headers = {"Accept": "application/dicom+json", **_authorization(service)}
    status, _ = _request(service, "GET", "/studies?limit=1", None, headers)
    if status in _OURS_TO_MEND or status >= 500:
        raise _unavailable(status, service)


def _authorization(service: StowService) -> dict[str, str]:
    if service.token_file is None:
        return {}
    try:
        token = service.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        told = f"the token file of {_name(service)} can't be read ({type(error).__name__})"
        raise DestinationUnavailable("token-file", told, "check token_file and its rights") from error
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token):  # RFC 6750 section 2.1
        raise DestinationUnavailable("token-file", f"the token file of {_name(service)} holds no bearer token")
    return {"Authorization": f"Bearer {token}"}


def _post(service: StowService, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    return _request(service, "POST", "/studies", body, headers)


def _request(
    service: StowService, method: str, below: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, bytes]:
    address = urlsplit(service.url)
    assert address.hostname is not None  # the settings see to that
    connection: http.client.HTTPConnection
    try:
        if address.scheme == "https":
            context = ssl.create_default_context()
            if service.ca_file is not None:
                context.load_verify_locations(service.ca_file)
            connection = http.client.HTTPSConnection(
                address.hostname, address.port, timeout=service.timeout_s, context=context
            )
        else:
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=service.timeout_s)
        try:
            connection.connect()
        except ssl.SSLError as error:
            told = f"no TLS connection to {_name(service)}: {error.reason or type(error).__name__}"
            raise DestinationUnavailable("tls", told, "check its certificate, and ca_file") from error
        except OSError as error:
            told = f"no TCP connection to {_name(service)}"
            raise DestinationUnavailable("no-connection", told, "is it running, is the port open?") from error
    except OSError as error:  # of load_verify_locations
        raise DestinationUnavailable("tls", f"ca_file of {_name(service)} can't be read", "check ca_file") from error
    try:
        connection.request(method, address.path.rstrip("/") + below, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise DestinationUnavailable("no-answer", f"{_name(service)} did not answer the request") from error
    finally:
        connection.close()


def _outcome(status: int, answer: bytes, sop_instance_uid: str, service: StowService) -> Outcome:
    said = _parsed(answer)
    if status in (200, 202, 409):
        failure = _reason(said, _FAILED, _FAILURE, sop_instance_uid)
        if failure in _DUPLICATES:
            return Outcome(0x0111, meaning(0x0111))
        if failure is not None:
            raise _not_stored(failure, service)
        warning = _reason(said, _STORED, _WARNING, sop_instance_uid)
        if warning is not None and status != 409:
            return Outcome(warning, "stored" if warning == 0 else meaning(warning))
        if status == 200 and not said:
            return Outcome(0x0000)  # a service that lists nothing: 200 says that all was stored
        told = f"{_name(service)} answered {status} and does not say what became of the object"
        raise DestinationRefused("stow-unclear", told, "see the service's log; then `pirtad retry`")
    if status in _OURS_TO_MEND or status in _THEIR_TROUBLE or status >= 500:
        raise _unavailable(status, service)
    told = f"{_name(service)} answered STOW-RS with {status}"
    raise DestinationRefused(f"http-{status}", told, "see the service's log; then `pirtad retry`")


def _unavailable(status: int, service: StowService) -> DestinationUnavailable:
    hints = {401: "its token is not taken: write a new one to token_file", 403: "our token may not store"}
    default = "check the destination's url" if status in _OURS_TO_MEND else ""
    told = f"{_name(service)} answered {status} ({http.client.responses.get(status, 'unknown')})"
    return DestinationUnavailable(f"http-{status}", told, hints.get(status, default))


def _not_stored(reason: int, service: StowService) -> DestinationRefused | DestinationUnavailable:
    told = f"{_name(service)} did not store it: 0x{reason:04X} ({meaning(reason)})"
    if reason >> 8 == 0xA7 or reason in _TRY_AGAIN:
        return DestinationUnavailable(f"status-{reason:04x}", told)
    return DestinationRefused(f"status-{reason:04x}", told, "see the service's log; then `pirtad retry`")


def _parsed(answer: bytes) -> dict[str, Any]:
    """The dataset in DICOM JSON, or {} for anything else."""
    try:
        parsed = json.loads(answer)
    except ValueError:
        return {}
    if isinstance(parsed, list) and len(parsed) == 1:
        parsed = parsed[0]  # as some services wrap it
    return parsed if isinstance(parsed, dict) else {}


def _reason(said: dict[str, Any], sequence: str, attribute: str, sop_instance_uid: str) -> int | None:
    """What the sequence says of this instance, 0 if it lists it without a reason; None if it does not list it."""
    for item in _values(said, sequence):
        if isinstance(item, dict) and sop_instance_uid in _values(item, _UID):
            reasons = [value for value in _values(item, attribute) if isinstance(value, int)]
            fallback = 0 if attribute == _WARNING else 0x0110
            return reasons[0] & 0xFFFF if reasons else fallback
    return None


def _values(item: dict[str, Any], tag: str) -> Iterator[Any]:
    element = item.get(tag)
    value = element.get("Value") if isinstance(element, dict) else None
    return iter(value if isinstance(value, list) else [])


def _name(service: StowService) -> str:
    address = urlsplit(service.url)
    return f"{address.scheme}://{address.netloc}{address.path}"
