"""What the prepare stage hands to the infer stage: the network's input, the volumes to measure on, and the facts that
go into the report."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.report.report import Registry
from pirtad.inference.volume import DiffusionPair, Volume

_INPUT = "input.npz"
_PAIR = "pair.npz"
_FACTS = "facts.json"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A study ready for the encoder.

    dwi_uids, adc_uids: SOP Instance UIDs of the images that were used; of a computed map, the images it was computed
        from. One instance may stand in both.
    adc_is_computed: whether the ADC map was computed here, and none was taken from the study.
    image_notes: what a reader of the report must know about the images, a sentence each; no patient data.
    pair: the volumes on their own grids, to measure a lesion on; None measures none.
    patient_id: PatientID, so that the patient's own earlier cases are not retrieved; None where it is not known.
    """

    network_input: NetworkInput = field(repr=False)
    registry: Registry
    b_value_s_per_mm2: float
    dwi_uids: tuple[str, ...] = ()
    adc_uids: tuple[str, ...] = ()
    adc_is_computed: bool = False
    image_notes: tuple[str, ...] = ()
    pair: DiffusionPair | None = field(default=None, repr=False)
    patient_id: str | None = field(default=None, repr=False)

    def save(self, directory: Path) -> None:
        """Write into an existing directory; the facts, written last, tell that it is whole."""
        self.network_input.save(directory / _INPUT)
        if self.pair is not None:
            _save_pair(self.pair, directory / _PAIR)
        facts = {
            "registry": asdict(self.registry),
            "b_value_s_per_mm2": self.b_value_s_per_mm2,
            "dwi_uids": self.dwi_uids,
            "adc_uids": self.adc_uids,
            "adc_is_computed": self.adc_is_computed,
            "image_notes": self.image_notes,
            "patient_id": self.patient_id,
        }
        write_whole(directory / _FACTS, json.dumps(facts, ensure_ascii=False).encode())

    @staticmethod
    def is_in(directory: Path) -> bool:
        """Whether `save` came to its end there."""
        return (directory / _FACTS).is_file()

    @classmethod
    def load(cls, directory: Path) -> Prepared:
        """The inverse of `save`; ModelMismatch if another preprocessing version wrote it."""
        facts = json.loads((directory / _FACTS).read_bytes())
        return cls(
            network_input=NetworkInput.load(directory / _INPUT),
            registry=Registry(**facts["registry"]),
            b_value_s_per_mm2=facts["b_value_s_per_mm2"],
            dwi_uids=tuple(facts["dwi_uids"]),
            adc_uids=tuple(facts["adc_uids"]),
            # Absent where an earlier version prepared the study: it computed nothing and noted nothing.
            adc_is_computed=facts.get("adc_is_computed", False),
            image_notes=tuple(facts.get("image_notes", ())),
            patient_id=facts.get("patient_id"),
            # Absent, too, where an earlier version prepared the study.
            pair=_load_pair(directory / _PAIR) if (directory / _PAIR).exists() else None,
        )


def _save_pair(pair: DiffusionPair, path: Path) -> None:
    """float32 as it is: packing 16 MB would cost a second of a patient's time."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as out:
        np.savez(
            out,
            dwi=pair.dwi.array,
            dwi_affine=pair.dwi.affine,
            adc=pair.adc_mm2_per_s.array,
            adc_affine=pair.adc_mm2_per_s.affine,
            b_value=np.array(pair.b_value_s_per_mm2),
        )
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)


def _load_pair(path: Path) -> DiffusionPair:
    with np.load(path, allow_pickle=False) as stored:
        return DiffusionPair(
            Volume(stored["dwi"], stored["dwi_affine"]),
            Volume(stored["adc"], stored["adc_affine"]),
            float(stored["b_value"]),
        )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole and synced, or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
