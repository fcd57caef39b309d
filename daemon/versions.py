"""Which bytes of an instance are on their way into the ledger: where other bytes are refused, the first ones stand."""

from __future__ import annotations

import threading


class Versions:
    """What the ledger does not know yet. Safe to use from several threads.

    An instance is named by its study and SOP Instance UIDs, its bytes by their content sha256. What is claimed is let
    go once the ledger has it, or when it was not kept after all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claimed: dict[tuple[str, str], tuple[str, int]] = {}  # (sha256, how many times)

    def claim(self, instance: tuple[str, str], sha256: str) -> bool:
        """Whether no other bytes of it are on their way; then these are, once more."""
        with self._lock:
            known, times = self._claimed.get(instance, (sha256, 0))
            if known != sha256:
                return False
            self._claimed[instance] = (sha256, times + 1)
            return True

    def let_go(self, instance: tuple[str, str], sha256: str) -> None:
        """Take back one claim, if there is one."""
        with self._lock:
            known, times = self._claimed.get(instance, ("", 0))
            if known != sha256:
                return
            if times > 1:
                self._claimed[instance] = (sha256, times - 1)
            else:
                del self._claimed[instance]
