"""A whole hospital: 6860 real headers, with their names and without; docs/series-recognition.md explains every miss."""

from __future__ import annotations

import time
from collections import Counter
from functools import cache

from pydicom import Dataset
from support.archive_headers import ArchiveRow, archive_rows

from pirtad.inference.dicom.kinds import Diffusion, Kind
from pirtad.inference.dicom.meaning.diffusion import diffusion_of, series_name, settle

# Filed as ADC maps, with a header that is, word for word, the one of the same patient's trace.
# The series held b 0, 500 and 1000; the header is that of its first image, of b 0.
SIEMENS_TWINS = (*(55, 70, 127, 154, 170, 209, 282, 307, 337, 402, 436, 545, 658, 1241, 1284, 1459, 1539, 1677, 1697),)
# The header is that of the weighted images, 'B1000', 'eDWI', 'Diffusion 128x192 Ramp', not that of a map.
GE_TWINS = (1033, 1053, 1124, 1308, 1400, 1425, 1681)
EXCLUDED = frozenset(f"sub-{number}/dwi/sub-{number}_rec-ADC_dwi.json" for number in (*SIEMENS_TWINS, *GE_TWINS))

# Filed as ADC maps, and the header says clearly that they are none: 'sB0' the b 0 images, 'AX DWI' the acquired ones.
MISFILED_B0 = (246, 390, 548, 775, 837, 1121, 1374)
MISFILED_DWI = (1320,)

WEIGHTED_TRACE = frozenset({Kind.TRACE, Kind.DWI})


@cache
def rows() -> tuple[ArchiveRow, ...]:
    return tuple(archive_rows())


def verdict(header: Dataset) -> Diffusion:
    """What a series with this one header is taken for."""
    return settle([diffusion_of(header)], series_name(header))[0]


def paths(label: str, kind: Kind) -> set[str]:
    return {row.path for row in rows() if row.label == label and verdict(row.header).kind is kind}


def of_subjects(numbers: tuple[int, ...], volume: str) -> set[str]:
    return {f"sub-{number}/dwi/sub-{number}_rec-{volume}_dwi.json" for number in numbers}


def test_the_excluded_rows_are_those_that_cannot_be_told_apart() -> None:
    # Given a map's row whose header is the trace's, in every attribute, nothing can say which is which
    traces = {row.path.split("/")[0]: row.header for row in rows() if row.label == "trace"}
    pairs = [(row.path, row.header, traces[row.path.split("/")[0]]) for row in rows() if row.label == "adc"]
    twins = {path for path, adc, trace in pairs if adc.ImageType == trace.ImageType and adc == trace}
    assert twins == EXCLUDED
    assert len(EXCLUDED) == 26


def test_with_names() -> None:
    counted = Counter((row.label, verdict(row.header).kind) for row in rows() if row.path not in EXCLUDED)

    assert counted == {
        ("trace", Kind.TRACE): 1676,
        ("trace", Kind.DWI): 20,
        ("trace", Kind.B0): 19,
        ("adc", Kind.ADC): 1681,
        ("adc", Kind.B0): 7,
        ("adc", Kind.DWI): 1,
        ("anatomy", Kind.OTHER): 3430,
    }


def test_the_excluded_rows_are_taken_for_what_their_header_says() -> None:
    counted = Counter(verdict(row.header).kind for row in rows() if row.path in EXCLUDED)
    assert counted == {Kind.B0: 19, Kind.DWI: 7}


def test_every_miss_has_a_name() -> None:
    assert paths("trace", Kind.B0) == of_subjects(SIEMENS_TWINS, "TRACE")
    assert paths("adc", Kind.B0) - EXCLUDED == of_subjects(MISFILED_B0, "ADC")
    assert paths("adc", Kind.DWI) - EXCLUDED == of_subjects(MISFILED_DWI, "ADC")


def test_recognised_in_995_of_1000() -> None:
    # Given the 19 headers of a b 0 image that stand for a series of three b values: SequenceName is the only attribute
    # in them that belongs to that one image, so the series is asked about without it
    def recognised(row: ArchiveRow) -> bool:
        header = row.header
        if row.path in of_subjects(SIEMENS_TWINS, "TRACE"):
            header = Dataset()
            header.update({tag: row.header.get_item(tag) for tag in row.header.keys()})  # noqa: SIM118
            del header.SequenceName
        return verdict(header).kind in (WEIGHTED_TRACE if row.label == "trace" else {Kind.ADC})

    asked = [row for row in rows() if row.label != "anatomy" and row.path not in EXCLUDED]
    hits = sum(recognised(row) for row in asked)

    assert (hits, len(asked)) == (3396, 3404)
    assert hits / len(asked) >= 0.995


def test_b_values_with_names() -> None:
    counted = Counter(verdict(row.header).b_value_s_per_mm2 for row in rows() if row.label == "trace")
    assert counted == {1000.0: 1687, 0.0: 19, None: 9}


def test_without_names_recognised_or_not_but_never_wrong() -> None:
    found = [(row.label, verdict(row.nameless())) for row in rows() if row.path not in EXCLUDED]

    assert Counter((label, one.kind) for label, one in found) == {
        ("trace", Kind.DWI): 20,
        ("trace", Kind.B0): 19,
        ("trace", Kind.UNCLEAR): 3,
        ("trace", Kind.OTHER): 1673,
        ("adc", Kind.ADC): 1679,
        ("adc", Kind.UNCLEAR): 2,
        ("adc", Kind.OTHER): 8,
        ("anatomy", Kind.OTHER): 3430,
    }
    # and nothing that is not recognised has a b value with which it could be chosen
    assert {one.b_value_s_per_mm2 for _, one in found} == {None, 0.0}


def test_the_name_is_gone_from_nameless_headers() -> None:
    names = {series_name(row.header).lower() for row in rows()}
    assert names
    for row in rows()[:50]:
        left = [str(element.value).lower() for element in row.nameless() if str(element.value)]
        assert not names.intersection(left)


def test_ten_thousand_headers_take_seconds() -> None:
    # Given time of this thread alone, for other tests share the machine
    headers = [row.header for row in rows()]
    begun = time.thread_time()
    for header in headers:
        diffusion_of(header)
    assert (time.thread_time() - begun) / len(headers) < 0.0005
