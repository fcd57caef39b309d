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
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.preprocess import preprocess


def prepare(paths: Iterable[Path], rules: SelectionRules, study_uid: str | None = None) -> Prepared:
    """Read series, choose and assemble the pair, preprocess it. Raises StudyNotUsable with the reason.

    study_uid: what the images came as, where that is known; "another_study" where their headers, read whole, say that
    they are another study's. Receiving reads a header's first Study Instance UID (0020,000D), others the last.
    """
    series = read_series(paths)
    if study_uid is not None and any(one.study_uid != study_uid for one in series):
        raise StudyNotUsable(
            "another_study",
            "a header states two Study Instance UIDs, so whose images these are is not known",
            "Correct (0020,000D) in the archive or at the scanner, and send the study again.",
        )
    choice = choose_pair(series, rules)
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
