"""The document about images that were computed, or that share multi-frame objects."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EnhancedMRImageStorage

from pirtad.inference.report.report import Report
from pirtad.worker.errors import NonConformant
from pirtad.worker.sr.check import check, dciodvfy_errors, serialise
from pirtad.worker.sr.evidence import references
from pirtad.worker.sr.identity import SrIdentity
from pirtad.worker.sr.narrative import compose_narrative
from pirtad.worker.sr.source import SourceStudy

NOTES = (
    "The ADC map was computed by pirtad from b 0 and 1000 s/mm2.",
    "The DWI has b 1400 s/mm2, not about 1000.",
)
MakeImage = Callable[..., Dataset]
Compose = Callable[..., Dataset]


@pytest.fixture
def compose(report: Callable[..., Report], identity: Callable[..., SrIdentity]) -> Compose:
    def make(source: SourceStudy, *notes: str) -> Dataset:
        document = compose_narrative(report(image_notes=notes), source, identity=identity())
        return dcmread(BytesIO(serialise(document)))

    return make


@pytest.fixture
def enhanced(image: MakeImage) -> MakeImage:
    """The header of an Enhanced MR object: its frames' b values, None for a frame of an ADC map."""

    def make(series: int, *b_values_s_per_mm2: float | None) -> Dataset:
        frames = []
        for b_value in b_values_s_per_mm2:
            kind, frame = Dataset(), Dataset()
            kind.FrameType = ["DERIVED", "PRIMARY", "DIFFUSION", "ADC" if b_value is None else "NONE"]
            frame.MRImageFrameTypeSequence = DicomSequence([kind])
            if b_value is not None:
                diffusion = Dataset()
                diffusion.DiffusionBValue = b_value
                frame.MRDiffusionSequence = DicomSequence([diffusion])
            frames.append(frame)
        return image(
            series, 1,
            SOPClassUID=EnhancedMRImageStorage, NumberOfFrames=len(frames),
            SharedFunctionalGroupsSequence=DicomSequence([Dataset()]),
            PerFrameFunctionalGroupsSequence=DicomSequence(frames),
        )  # fmt: skip

    return make


def about(document: Dataset) -> list[str]:
    """The texts on the images and what was made of them."""
    return [item.TextValue for item in document.ContentSequence[-1].ContentSequence]


def evidence(document: Dataset) -> list[str]:
    return [uid for *_, uid in references(document.CurrentRequestedProcedureEvidenceSequence)]


def validated(document: Dataset, directory: Path) -> list[str]:
    document.save_as(directory / "sr.dcm")
    return dciodvfy_errors(directory / "sr.dcm")


@pytest.fixture
def computed(image: MakeImage) -> SourceStudy:
    """A trace of two images, and the map that was computed from it and two images without weighting."""
    weighted, unweighted = ([image(series, number) for number in (1, 2)] for series in (4, 3))
    return SourceStudy(weighted, [*unweighted, *weighted], 1000.0, adc_is_computed=True)


def test_notes_come_after_the_caution_and_before_what_was_assessed(
    compose: Compose, study: Callable[..., SourceStudy], tmp_path: Path
) -> None:
    document = compose(study(), *NOTES)
    caution, *notes, assessed = about(document)[:4]
    assert caution.startswith("Not for diagnosis.")
    assert tuple(notes) == NOTES
    assert assessed.startswith("Assessed:")
    assert validated(document, tmp_path) == []


def test_without_notes_the_document_is_what_it_was(compose: Compose, study: Callable[..., SourceStudy]) -> None:
    noted, plain = about(compose(study(), *NOTES)), about(compose(study()))
    assert plain == [text for text in noted if text not in NOTES]
    assert plain[1] == (
        "Assessed: diffusion-weighted images (series 4, 3 images, b = 1000 s/mm2) and apparent diffusion coefficient "
        "(series 5, 3 images)."
    )


def test_a_computed_map_is_not_said_to_have_been_received(
    compose: Compose, computed: SourceStudy, tmp_path: Path
) -> None:
    document = compose(computed, NOTES[0])
    assert about(document)[2] == (
        "Assessed: diffusion-weighted images (series 4, 2 images, b = 1000 s/mm2) and an apparent diffusion "
        "coefficient map that pirtad computed from series 3 and 4, 4 images."
    )
    assert validated(document, tmp_path) == []


def test_evidence_of_a_computed_map_is_what_it_was_computed_from_once(compose: Compose, computed: SourceStudy) -> None:
    listed = evidence(compose(computed))
    assert len(listed) == len(set(listed)) == 4
    assert set(listed) == {str(one.SOPInstanceUID) for one in computed.images()}


def test_evidence_without_the_images_of_the_map_is_caught(compose: Compose, computed: SourceStudy) -> None:
    document = compose(SourceStudy(computed.dwi, computed.dwi, 1000.0, adc_is_computed=True))
    with pytest.raises(NonConformant, match="not exactly the used images"):
        check(document, source=computed)


def test_images_of_a_map_that_are_another_patients_are_refused(image: MakeImage) -> None:
    weighted = [image(4, 1)]
    with pytest.raises(NonConformant) as caught:
        SourceStudy(weighted, [image(3, 1, PatientID="PID-2"), *weighted], 1000.0, adc_is_computed=True)
    assert caught.value.code == "source-patient"


def test_a_single_image_is_no_received_map_and_dwi_at_once(image: MakeImage) -> None:
    both = image(4, 1)
    with pytest.raises(NonConformant) as caught:
        SourceStudy([both, image(4, 2)], [image(5, 1), both], 1000.0)
    assert caught.value.code == "source-adc"


def test_one_object_with_both_is_named_once(compose: Compose, enhanced: MakeImage, tmp_path: Path) -> None:
    # Given an object of two unweighted, two weighted and two ADC frames
    both = enhanced(4, 0.0, 0.0, 1000.0, 1000.0, None, None)
    document = compose(SourceStudy([both], [both], 1000.0))

    # Then no count of images is claimed for either
    assert about(document)[1] == (
        "Assessed: diffusion-weighted images (b = 1000 s/mm2) and apparent diffusion coefficient, "
        "both in series 4, 1 object of 6 frames."
    )
    assert evidence(document) == [str(both.SOPInstanceUID)]
    listed = list(references(document.CurrentRequestedProcedureEvidenceSequence))
    assert listed[0][2] == EnhancedMRImageStorage
    assert validated(document, tmp_path) == []
    # nor is a b value where none is known
    assert "images and apparent" in about(compose(SourceStudy([both], [both])))[1]


def test_a_map_computed_from_one_object_is_marked_as_computed(
    compose: Compose, enhanced: MakeImage, tmp_path: Path
) -> None:
    weighted = enhanced(4, 0.0, 0.0, 1000.0, 1000.0)
    document = compose(SourceStudy([weighted], [weighted], 1000.0, adc_is_computed=True), NOTES[0])
    assert about(document)[2] == (
        "Assessed: diffusion-weighted images (series 4, 1 object of 4 frames, b = 1000 s/mm2) and an apparent "
        "diffusion coefficient map that pirtad computed from series 4, 1 object of 4 frames."
    )
    assert evidence(document) == [str(weighted.SOPInstanceUID)]
    assert validated(document, tmp_path) == []


def test_objects_of_their_own_are_told_apart(compose: Compose, enhanced: MakeImage) -> None:
    document = compose(SourceStudy([enhanced(4, 1000.0, 1000.0)], [enhanced(5, None, None)], 1000.0))
    assert "(series 4, 1 object of 2 frames, b = 1000 s/mm2)" in about(document)[1]
    assert "(series 5, 1 object of 2 frames)" in about(document)[1]
    assert len(evidence(document)) == 2


def test_an_image_that_was_used_twice_is_counted_once(compose: Compose, image: MakeImage) -> None:
    document = compose(SourceStudy([image(4, 1), image(4, 1), image(4, 2)], [image(5, 1)], 1000.0))
    assert "series 4, 2 images" in about(document)[1]
