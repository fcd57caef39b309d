"""How many images the archive has, from archives that answer well, wrongly, in part, late or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pynetdicom.sop_class import ModalityWorklistInformationFind
from support.archive_counts import PENDING, SUCCESS, Answer, archive, match, settings, silent
from support.live import free_port

from pirtad.worker import pacs_counts
from pirtad.worker.pacs_counts import images_in_archive

# pynetdicom 3.0.4 leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")

STUDY, DWI, ADC = "1.2.840.99.1", "1.2.840.99.1.1", "1.2.840.99.1.2"
HAS = {DWI: 40, ADC: 20}


def well(query: Dataset) -> Iterator[Answer]:
    if query.SeriesInstanceUID in HAS:
        yield PENDING, match(query, NumberOfSeriesRelatedInstances=HAS[query.SeriesInstanceUID])
    yield SUCCESS, None


def test_the_number_of_each_series_is_asked_for_by_study_and_series() -> None:
    asked: list[Dataset] = []

    def answer(query: Dataset) -> Iterator[Answer]:
        asked.append(query)
        yield from well(query)

    with archive(answer) as pacs:
        assert images_in_archive(pacs, STUDY, (DWI, ADC, "1.2.840.99.1.3")) == HAS
    assert [(one.QueryRetrieveLevel, one.StudyInstanceUID, one.SeriesInstanceUID) for one in asked] == [
        ("SERIES", STUDY, series) for series in (DWI, ADC, "1.2.840.99.1.3")
    ]
    # Nothing else of the study is asked for, and nothing of the patient
    assert [element.keyword for element in asked[0]] == [
        *("QueryRetrieveLevel", "StudyInstanceUID", "SeriesInstanceUID", "NumberOfSeriesRelatedInstances")
    ]


def raw(query: Dataset, value: str) -> Dataset:
    """A match whose number is whatever text."""
    made = match(query)
    made.add(DataElement("NumberOfSeriesRelatedInstances", "IS", value, validation_mode=0, already_converted=True))
    return made


@pytest.mark.parametrize(
    "spoilt",
    [
        match,
        lambda query: match(query, NumberOfSeriesRelatedInstances=None),
        lambda query: match(query, NumberOfSeriesRelatedInstances=""),
        lambda query: match(query, NumberOfSeriesRelatedInstances=0),
        lambda query: match(query, NumberOfSeriesRelatedInstances=-3),
        lambda query: match(query, NumberOfSeriesRelatedInstances=[20, 40]),
        lambda query: raw(query, "many"),
        lambda query: raw(query, "2.5"),
        lambda query: match(query, SeriesInstanceUID="1.2.3", NumberOfSeriesRelatedInstances=40),
        lambda query: match(query, SeriesInstanceUID=None, NumberOfSeriesRelatedInstances=40),
        lambda query: match(query, StudyInstanceUID="1.2.3", NumberOfSeriesRelatedInstances=40),
    ],
    ids=[
        *("no number", "None", "empty", "zero", "negative", "two numbers", "text", "a fraction"),
        *("another series", "no series", "another study"),
    ],
)
def test_what_is_no_number_of_that_series_is_left_out_and_the_other_series_is_told(
    spoilt: Callable[[Dataset], Dataset],
) -> None:
    def answer(query: Dataset) -> Iterator[Answer]:
        if query.SeriesInstanceUID == ADC:
            yield from well(query)
        else:
            yield PENDING, spoilt(query)
            yield SUCCESS, None

    with archive(answer) as pacs:
        assert images_in_archive(pacs, STUDY, (DWI, ADC)) == {ADC: 20}


def test_an_archive_that_ignores_the_series_it_is_asked_for_is_believed_of_that_series_alone() -> None:
    def answer(query: Dataset) -> Iterator[Answer]:
        for uid, number in {**HAS, "1.2.840.99.1.7": 300}.items():
            yield PENDING, match(query, SeriesInstanceUID=uid, NumberOfSeriesRelatedInstances=number)
        yield SUCCESS, None

    with archive(answer) as pacs:
        assert images_in_archive(pacs, STUDY, (DWI,)) == {DWI: 40}


@pytest.mark.parametrize("numbers", [(20, 40), (40, 20)])
def test_of_two_numbers_for_a_series_the_larger_is_waited_for(numbers: tuple[int, int]) -> None:
    def answer(query: Dataset) -> Iterator[Answer]:
        for number in numbers:
            yield PENDING, match(query, NumberOfSeriesRelatedInstances=number)
        yield SUCCESS, None

    with archive(answer) as pacs:
        assert images_in_archive(pacs, STUDY, (DWI,)) == {DWI: 40}


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0xFE00])
def test_a_query_that_failed_told_nothing(status: int) -> None:
    def answer(query: Dataset) -> Iterator[Answer]:
        if query.SeriesInstanceUID == ADC:
            yield from well(query)
            return
        yield PENDING, match(query, NumberOfSeriesRelatedInstances=10)  # and then more could have come
        yield status, None

    with archive(answer) as pacs:
        assert images_in_archive(pacs, STUDY, (DWI, ADC)) == {ADC: 20}


def test_an_archive_that_is_down_refuses_or_has_no_query_costs_the_counts_alone() -> None:
    with archive(well) as pacs:
        assert images_in_archive(pacs.model_copy(update={"ae_title": "NOBODY"}), STUDY, (DWI,)) == {}
    assert images_in_archive(settings(free_port()), STUDY, (DWI,)) == {}
    with archive(well, offers=ModalityWorklistInformationFind) as pacs:
        assert images_in_archive(pacs, STUDY, (DWI,)) == {}


def test_an_archive_that_stops_answering_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacs_counts, "_TIMEOUT_S", 0.3)
    ended = threading.Event()

    def answer(query: Dataset) -> Iterator[Answer]:
        yield PENDING, match(query, NumberOfSeriesRelatedInstances=10)
        ended.wait(20)
        yield SUCCESS, None

    began = time.monotonic()
    with archive(answer) as pacs:
        try:
            assert images_in_archive(pacs, STUDY, (DWI,)) == {}
        finally:
            ended.set()
    with silent() as pacs:
        assert images_in_archive(pacs, STUDY, (DWI,)) == {}
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("limit", "value"), [("_MOST_ANSWERS", 5), ("_ALL_S", -1.0)])
def test_an_archive_that_never_comes_to_an_end_is_not_listened_to_for_ever(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(pacs_counts, limit, value)

    def answer(query: Dataset) -> Iterator[Answer]:
        for _ in range(10):
            yield PENDING, match(query, NumberOfSeriesRelatedInstances=40)
        yield SUCCESS, None

    with archive(answer) as pacs:
        assert images_in_archive(pacs, STUDY, (DWI,)) == {}
