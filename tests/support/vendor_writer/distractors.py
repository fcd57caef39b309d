"""What else lies in a study: series that are neither the trace nor the ADC map and must never be taken for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)

from support.vendor_writer.anatomy import Anatomy
from support.vendor_writer.headers import Identity, as_instance, in_series, patient_and_study, place
from support.vendor_writer.stored import Encoding, describe_pixels, store
from support.vendor_writer.study import Study

Array = NDArray[np.float64]
Contrast = Callable[[Anatomy, Array], Array]


def add_distractor(study: Study, name: str) -> None:
    """Add a series by its name in DISTRACTORS; each at most once."""
    study.series[name] = DISTRACTORS[name](study, 400 + list(DISTRACTORS).index(name))


def other_patient(study: Study) -> None:
    """Someone else's map under this study's UID, as after a mix-up at the modality's console."""
    stranger = Identity("ID-2", "ROE^RICHARD", "19481203", study.identity.root)
    anatomy = Anatomy(mirrored=True, tissue_factor=1.2)
    study.series["other patient"] = _stack(
        study, 490, "dADC", ["ORIGINAL", "PRIMARY", "ADC"], lambda _, p: anatomy.adc(p) * 1e6, identity=stranger
    )


def _stack(
    study: Study,
    number: int,
    description: str,
    image_type: list[str],
    contrast: Contrast,
    *,
    keep: slice = slice(None),
    identity: Identity | None = None,
    frame_of_reference: int = 1,
    attributes: dict[str, object] | None = None,
) -> list[Dataset]:
    where, identity = study.plan.where, identity or study.identity
    pixels = store(contrast(study.anatomy, where.points()), Encoding())
    written = []
    for count, index in enumerate(range(where.slices)[keep], start=1):
        dataset = patient_and_study(identity)
        in_series(dataset, identity, number, description, frame_of_reference=frame_of_reference)
        dataset.Manufacturer = study.series_maker
        as_instance(dataset, identity, number, count)
        place(dataset, where, index)
        dataset.ImageType = image_type
        describe_pixels(dataset, where.size, Encoding())
        dataset.PixelData = np.ascontiguousarray(pixels[index], dtype="<u2").tobytes()
        for keyword, value in (attributes or {}).items():
            setattr(dataset, keyword, value)
        written.append(dataset)
    return written


def _t1(anatomy: Anatomy, points: Array) -> Array:
    return np.where(anatomy.adc(points) > 2.5e-3, 90.0, anatomy.unweighted(points) ** 0.7)


def _flair(anatomy: Anatomy, points: Array) -> Array:
    return anatomy.unweighted(points) * (1 + 0.4 * (anatomy.adc(points) > 1e-3)) * (anatomy.adc(points) < 2.5e-3)


def _ratio(anatomy: Anatomy, points: Array) -> Array:
    return 1000 * np.exp(-1000 * anatomy.adc(points))


def _fa(anatomy: Anatomy, points: Array) -> Array:
    return 600.0 * anatomy.brain(points) * (1 + 0.3 * np.sin(points[..., 0] / 9))


def _perfusion(anatomy: Anatomy, points: Array) -> Array:
    return 900.0 * anatomy.brain(points) * (1.2 + np.cos(points[..., 1] / 20))


def _plain(
    description: str, image_type: str, contrast: Contrast, **attributes: object
) -> Callable[[Study, int], list[Dataset]]:
    def make(study: Study, number: int) -> list[Dataset]:
        return _stack(study, number, description, image_type.split("\\"), contrast, attributes=attributes)

    return make


def _localizer(study: Study, number: int) -> list[Dataset]:
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return _stack(study, number, "Survey", kind, _t1, keep=slice(0, 9, 4))


def _older_map(study: Study, number: int) -> list[Dataset]:
    """The map of another examination, sent along: someone moved in between, so it has its own frame of reference."""
    moved = np.array([9.0, -14.0, 6.0])
    return _stack(
        study,
        number,
        "dADC prior",
        ["ORIGINAL", "PRIMARY", "ADC"],
        lambda anatomy, points: anatomy.adc(points + moved) * 1e6,
        frame_of_reference=2,
    )


def _other_trace(study: Study, number: int) -> list[Dataset]:
    """A trace of b 500, for which another b value's image must not be taken."""
    return _stack(
        study,
        number,
        "sB500",
        ["ORIGINAL", "PRIMARY", "M"],
        lambda anatomy, points: anatomy.trace(points, 500.0),
        attributes={"DiffusionBValue": 500.0, "DiffusionDirectionality": "ISOTROPIC"},
    )


def _capture(study: Study, number: int) -> list[Dataset]:
    """A screenshot of the ADC map: grey values, burned-in text, no place."""
    made = _stack(
        study, number, "ADC screenshot", ["DERIVED", "SECONDARY", "ADC"], lambda a, p: a.adc(p) * 4e4, keep=slice(2)
    )
    for dataset in made:
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.ConversionType = "WSD"
        dataset.BurnedInAnnotation = "YES"
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"):
            delattr(dataset, keyword)
    return made


def _colour(study: Study, number: int) -> list[Dataset]:
    """FA coloured by direction: three samples a pixel."""
    made = _stack(study, number, "colFA", ["DERIVED", "PRIMARY", "DIFFUSION", "FA"], _fa)
    for dataset in made:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
        dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        grey = np.frombuffer(dataset.PixelData, dtype="<u2") // 8
        dataset.PixelData = np.repeat(grey.clip(max=255).astype(np.uint8), 3).tobytes()
    return made


def _object(sop_class: UID, modality: str, description: str) -> Callable[[Study, int], list[Dataset]]:
    def make(study: Study, number: int) -> list[Dataset]:
        dataset = patient_and_study(study.identity)
        in_series(dataset, study.identity, number, description)
        del dataset.FrameOfReferenceUID
        as_instance(dataset, study.identity, number, 1, sop_class)
        dataset.Modality = modality
        dataset.Manufacturer = study.series_maker
        return [dataset]

    return make


DISTRACTORS: dict[str, Callable[[Study, int], list[Dataset]]] = {
    "t1": _plain("T1 SE", "ORIGINAL\\PRIMARY\\M_SE\\M\\SE", _t1),
    "flair": _plain("FLAIR longTR", "ORIGINAL\\PRIMARY\\M_IR\\M\\IR", _flair),
    "swi": _plain("SWI mIP", "DERIVED\\SECONDARY\\MNIP", _flair),
    "localizer": _localizer,
    "eadc": _plain("eADC", "DERIVED\\PRIMARY\\EADC", _ratio),
    "exponential ge": _plain("Exponential Apparent Diffusion Coefficient", "DERIVED\\PRIMARY\\OTHER", _ratio),
    "exponential": _plain("dExponential", "DERIVED\\SECONDARY\\DIFFUSION\\EXPONENTIAL", _ratio),
    "fa": _plain("FA", "DERIVED\\PRIMARY\\DIFFUSION\\FA", _fa),
    "colour fa": _colour,
    "perfusion": _plain("ep2d_perf_MTT", "DERIVED\\PRIMARY\\PERFUSION\\MTT", _perfusion),
    "cbf": _plain("CBF", "DERIVED\\SECONDARY\\CBF", _perfusion),
    "capture": _capture,
    "b0": _plain(
        "sB0", "ORIGINAL\\PRIMARY\\M", lambda a, p: a.unweighted(p), DiffusionBValue=0.0, DiffusionDirectionality="NONE"
    ),
    "b500": _other_trace,
    "older map": _older_map,
    "presentation": _object(GrayscaleSoftcopyPresentationStateStorage, "PR", "ADC presentation"),
    "report": _object(BasicTextSRStorage, "SR", "DWI report"),
    "pdf": _object(EncapsulatedPDFStorage, "DOC", "sB1000 printout"),
}
