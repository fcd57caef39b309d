"""The images a result was made from, for machines (PS3.16 TID 1600 "Image Library").

highdicom's own ImageLibrary asks every image for its rows, spacing and orientation, which multi-frame objects have
elsewhere, and would lose the report of such a study; all of those are optional in TID 1602 and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import CodeContentItem, ContainerContentItem, ContentItem, ImageContentItem, UIDRefContentItem
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from pirtad.worker.sr import codes
from pirtad.worker.sr.source import SourceStudy


def image_library(source: SourceStudy) -> ContentItem:
    """A group for each use: diffusion-weighted images, ADC maps, and objects that hold both. Every image once."""
    shared = {str(image.SOPInstanceUID) for image in source.shared()}
    uses: list[tuple[tuple[Code, ...], Sequence[Dataset]]]
    if source.adc_is_computed:
        # There is no map: what `adc` names are the diffusion-weighted images that it was computed from.
        uses = [((codes.DIFFUSION_WEIGHTED,), source.images())]
    else:
        both = [image for image in source.dwi if str(image.SOPInstanceUID) in shared]
        uses = [
            ((codes.DIFFUSION_WEIGHTED,), _without(source.dwi, shared)),
            ((codes.ADC,), _without(source.adc, shared)),
            ((codes.DIFFUSION_WEIGHTED, codes.ADC), tuple(both)),
        ]
    library = ContainerContentItem(name=codes.IMAGE_LIBRARY, relationship_type="CONTAINS")
    library.ContentSequence = [_group(roles, images) for roles, images in uses if images]
    return library


def _without(images: Sequence[Dataset], uids: set[str]) -> tuple[Dataset, ...]:
    return tuple(image for image in images if str(image.SOPInstanceUID) not in uids)


def _group(roles: Sequence[Code], images: Sequence[Dataset]) -> ContentItem:
    distinct = {str(image.SOPInstanceUID): image for image in images}
    frames = {str(image.get("FrameOfReferenceUID") or "") for image in distinct.values()}
    group = ContainerContentItem(name=codes.IMAGE_LIBRARY_GROUP, relationship_type="CONTAINS")
    group.ContentSequence = [
        _about(codes.MODALITY, codes.MAGNETIC_RESONANCE),
        *(_about(codes.IMAGE_ROLE, role) for role in roles),
    ]
    # Scanners write UIDs that are none, with leading zeros: such a one would make the whole document non-conformant.
    if len(frames) == 1 and all(UID(one).is_valid for one in frames):
        (frame_of_reference,) = frames
        group.ContentSequence.append(
            UIDRefContentItem(codes.FRAME_OF_REFERENCE_UID, frame_of_reference, relationship_type="HAS ACQ CONTEXT")
        )
    group.ContentSequence.extend(
        ImageContentItem(codes.SOURCE, str(image.SOPClassUID), uid, relationship_type="CONTAINS")
        for uid, image in distinct.items()
    )
    return group


def _about(name: Code, value: Code) -> ContentItem:
    return CodeContentItem(name=name, value=value, relationship_type="HAS ACQ CONTEXT")
