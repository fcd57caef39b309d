"""An archive that is asked how many images it has: a Query/Retrieve SCP that answers well, wrongly or not at all."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from pirtad.worker.settings import PacsSettings

Answer = tuple[int, Dataset | None]
PENDING, SUCCESS = 0xFF00, 0x0000


def match(query: Dataset, **attributes: Any) -> Dataset:
    """A match of this query; attributes take the place of what it asked for, None leaves one out."""
    made = Dataset()
    made.QueryRetrieveLevel = "SERIES"
    stated = {"StudyInstanceUID": query.StudyInstanceUID, "SeriesInstanceUID": query.SeriesInstanceUID, **attributes}
    for keyword, value in stated.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


@contextmanager
def archive(
    answer: Callable[[Dataset], Iterator[Answer]], *, offers: Any = StudyRootQueryRetrieveInformationModelFind
) -> Iterator[PacsSettings]:
    """A server that answers each query so; yields the settings to ask it with."""
    entity = AE("ARCHIVE")
    entity.require_called_aet = True
    entity.add_supported_context(offers)
    entity.add_supported_context(Verification)
    handlers = [(evt.EVT_C_FIND, lambda event: answer(event.identifier))]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield settings(server.socket.getsockname()[1])
    finally:
        server.shutdown()


@contextmanager
def silent() -> Iterator[PacsSettings]:
    """A host whose system takes the connection and whose program never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield settings(server.getsockname()[1])


def settings(port: int) -> PacsSettings:
    """To ask the server on this port."""
    return PacsSettings(ae_title="ARCHIVE", host="127.0.0.1", port=port)
