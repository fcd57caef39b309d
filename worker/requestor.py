"""What pynetdicom lacks for a requestor under load: answers that its own reactor does not take away."""

from __future__ import annotations

from typing import Any

from pynetdicom.association import Association


def keep_answers(association: Association) -> None:
    """Leave every message to the `send_*` that waits for it. For associations on which the peer asks nothing.

    pynetdicom 3.0.4 pauses its reactor while a request waits for its answer, and takes it for paused a moment too
    early (`_run_reactor` says so before it looks whether it has to wait). Where the processor is busy and the peer
    quick, the reactor then takes the answer as a request, and the caller waits for it until the timeout.
    """
    get = association.dimse.get_msg

    def get_msg(block: bool = False) -> tuple[Any, Any]:
        return get(block=True) if block else (None, None)

    association.dimse.get_msg = get_msg
