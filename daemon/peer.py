"""What the listener remembers of one association, and what it tells the operator when that ends."""

from __future__ import annotations

from dataclasses import dataclass

_AE_TITLE_MAX = 16  # PS3.5 table 6.2-1, VR AE


def clean_ae_title(title: str) -> str:
    """A peer's AE title as it may stand in logs and ledger: 16 printable ASCII characters at most."""
    shown = "".join(character if " " <= character <= "~" else "?" for character in title.strip())
    return shown[:_AE_TITLE_MAX] or "(none)"


@dataclass(slots=True)
class Peer:
    """One connection's counts; written by the thread of its association alone."""

    address: str
    calling_ae: str = ""  # "" until an association is accepted
    proposed_contexts: int = 0
    accepted_contexts: int = 0
    received: int = 0  # C-STORE requests answered with Success
    refused: int = 0  # C-STORE requests answered with anything else
    echoes: int = 0
    commitments: int = 0  # requests for storage commitment, and answers to ours
    is_released: bool = False

    def verdict(self, is_cut_off: bool, why: str = "") -> tuple[str, str] | None:
        """(event kind, text) when the connection ended in a way the operator should know of, or None.

        is_cut_off: a message had begun to arrive and was not complete. why: for what we ended it, if we did.
        """
        if not self.calling_ae:
            return None  # no association came about: a port check, or a rejection, which has its own notice
        who = f"association from {self.calling_ae} at {self.address}"
        if not self.is_released:
            end = ", and in the middle of a message" if is_cut_off else ""
            cause = f" ({why})" if why else ""
            text = f"{who} ended without a release{end}{cause}; {self.received} images received"
            return "association_aborted", text
        if not (self.received or self.refused or self.echoes or self.commitments):
            contexts = f"{self.accepted_contexts} of {self.proposed_contexts} presentation contexts accepted"
            return "empty_association", f"{who} sent nothing; {contexts}"
        return None
