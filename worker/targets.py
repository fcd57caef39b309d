"""The destinations of the settings, as what a courier needs: a name, what it takes, and how to hand it an object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pirtad.worker.ask_commitment import ask
from pirtad.worker.commitment import Report, Request
from pirtad.worker.deliver import Destination, Outcome, send
from pirtad.worker.delivery_settings import CommitmentMode, DestinationSettings
from pirtad.worker.ledger.deliveries import destination_name
from pirtad.worker.settings import Settings
from pirtad.worker.sr.identity import MEASUREMENTS
from pirtad.worker.sr.picture import PICTURE
from pirtad.worker.stow import StowService, store

# Chosen: a destination that was down is likely still down, and its probe must not hold up other studies for long. Once
# TCP connects, it has all of its time.
_PROBE_CONNECT_S = 5.0
# Chosen: Orthanc answers in a sixth of a second; who takes longer answers to the listener.
_WAIT_FOR_REPORT_S = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """A destination. name: in the ledger, kept when its address changes."""

    name: str
    peer: Destination | StowService
    commitment: CommitmentMode = "off"
    measurements: bool = True
    picture: bool = True

    def takes(self, role: str) -> bool:
        """Whether objects of this role go to it; all but two always do."""
        return {MEASUREMENTS: self.measurements, PICTURE: self.picture}.get(role, True)

    @property
    def longest_try_s(self) -> float:
        """How long one try for one object may take."""
        if isinstance(self.peer, StowService):
            return 2 * self.peer.timeout_s
        return self.peer.connect_timeout_s + self.peer.association_timeout_s + self.peer.answer_timeout_s

    def send(self, path: Path, *, is_probe: bool) -> Outcome:
        """Hand it the file; is_probe: it was down when it was last tried. Raises as `deliver.send` does."""
        if isinstance(self.peer, StowService):
            return store(path, self.peer)
        patience_s = min(_PROBE_CONNECT_S, self.peer.connect_timeout_s) if is_probe else self.peer.connect_timeout_s
        return send(path, replace(self.peer, connect_timeout_s=patience_s))

    def ask(self, request: Request, on_report: Callable[[Report], bool], is_answered: Callable[[], bool]) -> None:
        """Ask it for storage commitment. Raises as `ask_commitment.ask` does."""
        assert isinstance(self.peer, Destination)  # of others the commitment is "off"
        ask(self.peer, request, on_report, is_answered, _WAIT_FOR_REPORT_S)


def targets_of(settings: Settings) -> tuple[Target, ...]:
    """Where results go: the destinations that are named, else the one PACS."""
    named = settings.delivery.destinations
    if named:
        return tuple(_target(one) for one in named)
    pacs = settings.pacs
    peer = Destination(
        ae_title=pacs.ae_title, host=pacs.host, port=pacs.port, calling_ae_title=pacs.calling_ae_title,
        connect_timeout_s=pacs.timeout_s, association_timeout_s=pacs.timeout_s, answer_timeout_s=pacs.timeout_s,
    )  # fmt: skip
    name = destination_name(pacs.ae_title, pacs.host, pacs.port)
    return (Target(name, peer, pacs.commitment, pacs.measurements, pacs.picture),)


def _target(one: DestinationSettings) -> Target:
    if one.kind == "stow":
        service = StowService(one.url, one.token_file, one.ca_file, one.timeout_s)
        return Target(one.name, service, "off", one.measurements, one.picture)
    peer = Destination(
        ae_title=one.ae_title, host=one.host, port=one.port, calling_ae_title=one.calling_ae_title,
        connect_timeout_s=one.timeout_s, association_timeout_s=one.timeout_s, answer_timeout_s=one.timeout_s,
    )  # fmt: skip
    return Target(one.name, peer, one.commitment, one.measurements, one.picture)
