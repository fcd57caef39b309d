"""Volumes as SOP instances: one slice an image, the tiles of a Siemens mosaic or a UIH grid, or one Enhanced object."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage

from support.vendor_writer.anatomy import Anatomy
from support.vendor_writer.csa import csa_header, diffusion_tags
from support.vendor_writer.headers import Identity, as_instance, cosines, decimals, in_series, place, uid
from support.vendor_writer.moments import date, time_of
from support.vendor_writer.raster import Raster
from support.vendor_writer.shots import Role, Shot
from support.vendor_writer.stored import Encoding, Stored, describe_pixels, state_scaling, store
from support.vendor_writer.undeclared import undeclare
from support.vendor_writer.vendors import Vendor, mark_standard, private


@dataclass(frozen=True)
class SeriesPlan:
    """One series to be written: its volumes, and how weighted images and maps are stored."""

    number: int
    description: str
    shots: tuple[Shot, ...]
    encoding: Encoding
    map_encoding: Encoding
    frame_of_reference: int = 1

    def encoding_of(self, shot: Shot) -> Encoding:
        return self.map_encoding if shot.role is Role.ADC else self.encoding

    def stored(self, shot: Shot, anatomy: Anatomy, where: Raster, *, by_slice: bool = False) -> Stored:
        """Pixels (slices, rows, columns) as they are stored; `by_slice`: each slice in its own encoding."""
        encoding = self.encoding_of(shot)
        values = shot.values(anatomy, where)
        if shot.role is Role.ADC:
            values = values / encoding.unit_mm2_per_s
        if not by_slice:
            return store(values, encoding)
        return np.stack([store(image, encoding.of_slice(index)) for index, image in enumerate(values)])


@dataclass(frozen=True)
class Scene:
    """What all series of an acquisition share. shuffle: makes instance numbers, frame order and file order random."""

    base: Dataset
    identity: Identity
    vendor: Vendor
    anatomy: Anatomy
    where: Raster
    shuffle: np.random.Generator


def classic(scene: Scene, plan: SeriesPlan) -> list[Dataset]:
    """One MR Image Storage instance a slice; instance numbers are scrambled over the whole series."""
    numbers = iter(scene.shuffle.permutation(len(plan.shots) * scene.where.slices) + 1)
    written = []
    for shot in plan.shots:
        pixels = plan.stored(shot, scene.anatomy, scene.where, by_slice=True)
        for index in range(scene.where.slices):
            dataset = _start(scene, plan)
            as_instance(dataset, scene.identity, plan.number, int(next(numbers)))
            place(dataset, scene.where, index)
            _mark(dataset, scene, shot)
            encoding = plan.encoding_of(shot).of_slice(index)
            describe_pixels(dataset, scene.where.size, encoding)
            state_scaling(dataset, encoding, is_map=shot.role is Role.ADC)
            dataset.PixelData = _bytes(pixels[index])
            written.append(dataset)
    return written


def mosaic(scene: Scene, plan: SeriesPlan) -> list[Dataset]:
    """Siemens: a volume as one square image of tiles, row by row, in the direction of CSA's SliceNormalVector.

    ImagePositionPatient is that of a single slice as large as the whole mosaic, about the first slice's centre.
    """
    where = scene.where
    across = int(np.ceil(np.sqrt(where.slices)))
    numbers = iter(scene.shuffle.permutation(len(plan.shots)) + 1)
    written = []
    for shot in plan.shots:
        dataset = _start(scene, plan)
        as_instance(dataset, scene.identity, plan.number, int(next(numbers)))
        place(dataset, where, 0)
        spread = (across - 1) / 2 * np.array([where.size[1] * where.spacing_mm[1], where.size[0] * where.spacing_mm[0]])
        dataset.ImagePositionPatient = decimals(where.positions[0] - spread @ where.cosines)
        _mark(dataset, scene, shot)
        dataset.ImageType = [*dataset.ImageType, "MOSAIC"]
        normal = (float(where.normal[0]), float(where.normal[1]), float(where.normal[2]))
        told = (None, None) if shot.undeclared else (shot.b_value, shot.direction)
        tags = diffusion_tags(*told, normal)
        tags["NumberOfImagesInMosaic"] = ("US", [str(where.slices)])
        tags["AcquisitionMatrixText"] = ("SH", [f"{where.size[0]}*{where.size[1]}"])
        private(dataset, 0x0029, "SIEMENS CSA HEADER", {0x10: ("OB", csa_header(tags))})
        private(dataset, 0x0019, "SIEMENS MR HEADER", {0x0A: ("US", where.slices)})
        _tile(dataset, scene, plan, shot, (across, across))
        written.append(dataset)
    return written


def grid(scene: Scene, plan: SeriesPlan) -> list[Dataset]:
    """UIH: a volume as one image of tiles ("VFRAME"), each tile's place in (0065,1051), none for the whole image."""
    where = scene.where
    columns = int(np.ceil(np.sqrt(where.slices)))
    rows = -(-where.slices // columns)
    numbers = iter(scene.shuffle.permutation(len(plan.shots)) + 1)
    written = []
    for shot in plan.shots:
        dataset = _start(scene, plan)
        as_instance(dataset, scene.identity, plan.number, int(next(numbers)))
        place(dataset, where, 0)
        del dataset.ImagePositionPatient
        _mark(dataset, scene, shot)
        dataset.ImageType = [*dataset.ImageType, "VFRAME"]
        tiles = []
        for position in where.positions:
            tile = Dataset()
            if shot.moment is not None:
                tile.AcquisitionTime = f"{time_of(shot.moment)}.000"
            tile.ImagePositionPatient = decimals(position)
            tiles.append(tile)
        private(dataset, 0x0065, "Image Private Header", {0x50: ("DS", str(where.slices)), 0x51: ("SQ", tiles)})
        _tile(dataset, scene, plan, shot, (rows, columns))
        written.append(dataset)
    return written


def enhanced(scene: Scene, plan: SeriesPlan) -> list[Dataset]:
    """One Enhanced MR Image Storage object (PS3.3 A.36.2) with all volumes; frames lie in random order, and their
    dimension index counts stack, position and volume."""
    where = scene.where
    dataset = _start(scene, plan)
    as_instance(dataset, scene.identity, plan.number, 1, EnhancedMRImageStorage)
    date(dataset, plan.shots[0])
    dataset.PatientPosition = where.position.value
    dataset.ImageType = _frame_type(plan.shots[-1])
    if len({plan.encoding_of(shot).signed for shot in plan.shots}) > 1:
        raise ValueError("the frames of one object are signed alike")
    describe_pixels(dataset, where.size, plan.encoding_of(plan.shots[0]))
    frames, pixels = [], []
    for volume, shot in enumerate(plan.shots, start=1):
        stored = plan.stored(shot, scene.anatomy, where, by_slice=True)
        for index in range(where.slices):
            frames.append(_frame(scene, plan, shot, volume, index))
            pixels.append(stored[index])
    order = scene.shuffle.permutation(len(frames))
    dataset.NumberOfFrames = len(frames)
    shared = _shared(scene)
    if scene.shuffle.random() < 0.5:
        _share_what_is_common(shared, frames)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [frames[n] for n in order]
    _dimensions(dataset, scene)
    dataset.AcquisitionContrast = "DIFFUSION"
    dataset.ComplexImageComponent = "MAGNITUDE"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.ContentQualification = "PRODUCT"
    dataset.BurnedInAnnotation = "NO"
    dataset.PixelData = _bytes(np.stack([pixels[n] for n in order]))
    return [dataset]


def _start(scene: Scene, plan: SeriesPlan) -> Dataset:
    dataset = Dataset()
    for element in scene.base:
        dataset.add(copy(element))
    in_series(dataset, scene.identity, plan.number, plan.description, frame_of_reference=plan.frame_of_reference)
    dataset.Manufacturer, dataset.ManufacturerModelName = scene.vendor.manufacturer, scene.vendor.model
    return dataset


def _tile(dataset: Dataset, scene: Scene, plan: SeriesPlan, shot: Shot, tiles: tuple[int, int]) -> None:
    """Pixels of all slices, row by row of tiles; tiles left over are 0."""
    encoding, size = plan.encoding_of(shot), scene.where.size
    stored = plan.stored(shot, scene.anatomy, scene.where)
    canvas = np.zeros((tiles[0] * size[0], tiles[1] * size[1]), dtype=stored.dtype)
    for index, image in enumerate(stored):
        row, column = divmod(index, tiles[1])
        canvas[row * size[0] : (row + 1) * size[0], column * size[1] : (column + 1) * size[1]] = image
    describe_pixels(dataset, canvas.shape, encoding)
    state_scaling(dataset, encoding, is_map=shot.role is Role.ADC)
    dataset.PixelData = _bytes(canvas)


def _frame_type(shot: Shot) -> list[str]:
    words = {Role.ADC: "ADC", Role.TRACE: "TRACEW"}
    derived = shot.role in words
    return ["DERIVED" if derived else "ORIGINAL", "PRIMARY", "DIFFUSION", words.get(shot.role, "NONE")]


def _frame(scene: Scene, plan: SeriesPlan, shot: Shot, volume: int, index: int) -> Dataset:
    content, position, kind, transform = Dataset(), Dataset(), Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber = "1", index + 1
    content.TemporalPositionIndex = volume
    content.DimensionIndexValues = [1, index + 1, volume]
    if shot.moment is not None:
        content.FrameAcquisitionDateTime = f"20260228{time_of(shot.moment)}"
    if shot.position is not None:
        content.FrameAcquisitionNumber = shot.moment
    position.ImagePositionPatient = decimals(scene.where.positions[index])
    kind.FrameType = _frame_type(shot)
    kind.AcquisitionContrast, kind.ComplexImageComponent = "DIFFUSION", "MAGNITUDE"
    frame = Dataset()
    frame.FrameContentSequence, frame.PlanePositionSequence = [content], [position]
    frame.MRImageFrameTypeSequence = [kind]
    if shot.role is not Role.ADC:
        frame.MRDiffusionSequence = [_diffusion(shot)]
    encoding = plan.encoding_of(shot).of_slice(index)
    state_scaling(transform, encoding, is_map=shot.role is Role.ADC)
    if "RealWorldValueMappingSequence" in transform:
        frame.RealWorldValueMappingSequence = transform.RealWorldValueMappingSequence
        del transform.RealWorldValueMappingSequence
    if "RescaleSlope" not in transform:
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = "1", "0", "US"
    frame.PixelValueTransformationSequence = [transform]
    return frame


def _diffusion(shot: Shot) -> Dataset:
    item = Dataset()
    mark_standard(item, shot)
    if shot.direction:
        del item.DiffusionGradientOrientation
        gradient = Dataset()
        gradient.DiffusionGradientOrientation = list(shot.direction)
        item.DiffusionGradientDirectionSequence = [gradient]
    if shot.undeclared:
        undeclare(item, shot)
    return item


def _shared(scene: Scene) -> Dataset:
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing = [f"{n:.6g}" for n in scene.where.spacing_mm]
    measures.SliceThickness = f"{0.8 * scene.where.gap_mm:.6g}"
    measures.SpacingBetweenSlices = f"{scene.where.gap_mm:.6g}"
    orientation.ImageOrientationPatient = cosines(scene.where)
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    return shared


def _share_what_is_common(shared: Dataset, frames: list[Dataset]) -> None:
    """Move macros that all frames have alike into the shared groups, as PS3.3 C.7.6.16 allows."""
    for element in list(frames[0]):
        if element.keyword != "FrameContentSequence" and all(frame.get(element.tag) == element for frame in frames):
            shared.add(element)
            for frame in frames:
                del frame[element.tag]


def _mark(dataset: Dataset, scene: Scene, shot: Shot) -> None:
    """What the volume is and when it was taken, as far as the header is to say it."""
    scene.vendor.mark(dataset, shot, scene.where)
    if shot.undeclared:
        undeclare(dataset, shot)
    date(dataset, shot)


def _dimensions(dataset: Dataset, scene: Scene) -> None:
    organization = Dataset()
    organization.DimensionOrganizationUID = uid(scene.identity, 8, 1)
    dataset.DimensionOrganizationSequence = [organization]
    pointers = []
    for attribute in (0x00209056, 0x00209057, 0x00209128):  # StackID, InStackPositionNumber, TemporalPositionIndex
        item = Dataset()
        item.DimensionIndexPointer, item.FunctionalGroupPointer = attribute, 0x00209111
        item.DimensionOrganizationUID = organization.DimensionOrganizationUID
        pointers.append(item)
    dataset.DimensionIndexSequence = pointers


def _bytes(pixels: Stored) -> bytes:
    """Little endian; padded to an even length, as PS3.5 8.1.1 demands."""
    raw = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
    return raw + b"\0" * (len(raw) % 2)
