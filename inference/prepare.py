"""The first half of the offline pipeline: read series -> preprocess. The second is `pirtad.inference.engine`.

The workers and `pirtad predict` run these same functions. No torch here: the prepare worker starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pirtad.inference.dicom.assemble import assemble_pair
from pirtad.inference.dicom.candidates import BValueLimits
from pirtad.inference.dicom.headers import read_series
from pirtad.inference.dicom.registry import registry_of
from pirtad.inference.dicom.select import choose_pair
from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.preprocess import preprocess


def prepare(paths: Iterable[Path], limits: BValueLimits) -> Prepared:
    """Read series, choose and assemble the pair, preprocess it. Raises StudyNotUsable with the reason."""
    choice = choose_pair(read_series(paths), limits)
    pair = assemble_pair(choice)
    return Prepared(
        network_input=preprocess(pair),
        registry=registry_of(choice.dwi.instances[0].header),
        b_value_s_per_mm2=pair.b_value_s_per_mm2,
        dwi_uids=tuple(instance.sop_instance_uid for instance in choice.dwi.instances),
        adc_uids=tuple(instance.sop_instance_uid for instance in choice.adc.instances),
    )
