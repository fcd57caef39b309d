"""The first half of the offline pipeline: read series -> preprocess. The second is `pirtad.inference.engine`.

The workers and `pirtad predict` run these same functions. No torch here: the prepare worker starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pirtad.inference.dicom.choosing.candidates import Candidate
from pirtad.inference.dicom.choosing.rules import SelectionRules
from pirtad.inference.dicom.choosing.select import choose_pair
from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.dicom.reading.part10 import read_header
from pirtad.inference.dicom.registry import registry_of
from pirtad.inference.dicom.volumes.assemble import assemble_pair
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.volume import DiffusionPair

# PIRTA section 2.3.1: patients aged 18 years or older.
ADULT_YEARS = 18


def prepare(paths: Iterable[Path], rules: SelectionRules) -> Prepared:
    """Read series, choose and assemble the pair, preprocess it. Raises StudyNotUsable with the reason."""
    return prepare_with_pair(paths, rules)[0]


def prepare_with_pair(paths: Iterable[Path], rules: SelectionRules) -> tuple[Prepared, DiffusionPair]:
    """`prepare`, and the pair on its own grids, for who measures on them."""
    choice = choose_pair(read_series(paths), rules)
    read = read_header(choice.dwi.frames[0].instance.path)
    assert read is not None  # an image that was chosen is no DICOMDIR
    registry = registry_of(read.header)
    if registry.age_years is not None and registry.age_years < ADULT_YEARS:
        raise StudyNotUsable("not_adult", "the patient is a minor", "No draft is made for patients under 18 years.")
    pair = assemble_pair(choice)
    prepared = Prepared(
        network_input=preprocess(pair),
        registry=registry,
        b_value_s_per_mm2=pair.b_value_s_per_mm2,
        dwi_uids=_instance_uids(choice.dwi),
        adc_uids=_instance_uids(choice.adc),
        adc_is_computed=choice.adc.computed,
        image_notes=choice.remarks,
    )
    return prepared, pair


def _instance_uids(candidate: Candidate) -> tuple[str, ...]:
    """SOP Instance UIDs of the files that a volume is made from, each once."""
    return tuple(sorted({frame.instance.sop_instance_uid for frame in candidate.frames}))
