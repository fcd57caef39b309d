"""A C-FIND server that answers as a test says, and a host that never answers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

Answer = tuple[int, Dataset | None]


@contextmanager
def find_server(answer: Callable[[Dataset], Iterator[Answer]], offers: Any, title: str) -> Iterator[int]:
    """Answers each query so; yields its port."""
    entity = AE(ae_title=title)
    entity.require_called_aet = True
    entity.add_supported_context(offers)
    entity.add_supported_context(Verification)
    handlers = [(evt.EVT_C_FIND, lambda event: answer(event.identifier))]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


@contextmanager
def silent_host() -> Iterator[int]:
    """Its system takes the connection, and its program never answers; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
