"""The first half of the offline pipeline: read series -> preprocess. The second is `pirtad.inference.engine`.

The workers and `pirtad predict` run these same functions. No torch here: the prepare worker starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pirtad.inference.dicom.choosing.candidates import Candidate
from pirtad.inference.dicom.choosing.rules import SelectionRules
from pirtad.inference.dicom.choosing.select import choose_pair
from pirtad.inference.dicom.identity import patient_identity
from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.dicom.reading.part10 import read_header
from pirtad.inference.dicom.registry import registry_of
from pirtad.inference.dicom.volumes.assemble import assemble_pair
from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.preprocess import preprocess


def prepare(paths: Iterable[Path], rules: SelectionRules) -> Prepared:
    """Read series, choose and assemble the pair, preprocess it. Raises StudyNotUsable with the reason."""
    choice = choose_pair(read_series(paths), rules)
    read = read_header(choice.dwi.frames[0].instance.path)
    assert read is not None  # an image that was chosen is no DICOMDIR
    pair = assemble_pair(choice)
    return Prepared(
        network_input=preprocess(pair),
        registry=registry_of(read.header),
        b_value_s_per_mm2=pair.b_value_s_per_mm2,
        dwi_uids=_instance_uids(choice.dwi),
        adc_uids=_instance_uids(choice.adc),
        adc_is_computed=choice.adc.computed,
        image_notes=choice.remarks,
        pair=pair,
        patient_id=patient_identity(read.header).patient_id.strip() or None,
    )


def _instance_uids(candidate: Candidate) -> tuple[str, ...]:
    """SOP Instance UIDs of the files that a volume is made from, each once."""
    return tuple(sorted({frame.instance.sop_instance_uid for frame in candidate.frames}))
