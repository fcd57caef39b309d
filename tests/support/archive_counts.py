"""An archive that is asked how many images it has: a Query/Retrieve SCP that answers well, wrongly or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from pirtad.worker.settings import PacsSettings
from support.finding import Answer, find_server, silent_host

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
    with find_server(answer, offers, "ARCHIVE") as port:
        yield settings(port)


@contextmanager
def silent() -> Iterator[PacsSettings]:
    """A host whose system takes the connection and whose program never answers."""
    with silent_host() as port:
        yield settings(port)


def settings(port: int) -> PacsSettings:
    """To ask the server on this port."""
    return PacsSettings(ae_title="ARCHIVE", host="127.0.0.1", port=port)
