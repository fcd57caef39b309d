"""Damage to what headers say about diffusion: attributes lost, blanked, garbled, contradicted, and names that lie."""

from __future__ import annotations

from random import Random

from pydicom import Dataset
from pydicom.tag import Tag

from support.vendor_writer.hits import drop, nests_of, some_instances, some_series
from support.vendor_writer.study import Packing, Study
from support.vendor_writer.vendors import private

_DIFFUSION = (
    "ImageType",
    "SequenceName",
    "DiffusionBValue",
    "DiffusionDirectionality",
    "DiffusionGradientOrientation",
    "ImageComments",
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionContrast",
)


def drop_diffusion(study: Study, random: Random) -> None:
    """An attribute that tells the kind or the b value is gone, everywhere in the instances hit."""
    drop(study, random, _DIFFUSION)


def blank_diffusion(study: Study, random: Random) -> None:
    """The attribute is there and empty."""
    keyword = random.choice(_DIFFUSION)
    for dataset in some_instances(study, random):
        for nest in nests_of(dataset):
            if keyword in nest:
                nest[keyword].value = None


def private_garbage(study: Study, random: Random) -> None:
    """A private element holds bytes that mean nothing."""
    for dataset in some_instances(study, random):
        elements = [tag for tag in dataset if tag.tag.is_private and not tag.tag.is_private_creator]
        if not elements:
            continue
        hit = random.choice(elements)
        dataset.add_new(hit.tag, "UN", random.randbytes(random.choice([0, 2, 8, 40, 200])))


def drop_private(study: Study, random: Random) -> None:
    """Private elements are gone, as after an anonymiser: all of one group, creators included or not."""
    group = random.choice([0x0019, 0x0029, 0x0043, 0x0065, 0x2001, 0x2005])
    creators = random.random() < 0.5
    for dataset in some_instances(study, random):
        for element in list(dataset):
            if element.tag.group == group and (creators or not element.tag.is_private_creator):
                del dataset[element.tag]


def contradict_b(study: Study, random: Random) -> None:
    """The standard attribute says another b value than the vendor's own; no operator takes the latter away then."""
    if study.plan.packing in (Packing.CANON, Packing.ENHANCED):
        return
    b_value = random.choice([50.0, 700.0, 1300.0, 3000.0])
    for name in ("raw", "trace"):
        for dataset in study.series.get(name, []):
            if _is_weighted(dataset):
                dataset.DiffusionBValue = b_value


def contradict_private_b(study: Study, random: Random) -> None:
    """Another vendor's private b value has got in."""
    b_value = random.choice([0, 500, 1300])
    for dataset in some_series(study, random):
        private(dataset, 0x0019, "SIEMENS MR HEADER", {0x0C: ("IS", str(b_value))})


def swap_names(study: Study, random: Random) -> None:
    """Trace and map have exchanged their names; the rest of the headers tells the truth."""
    if "map" in study.series:
        names = [study.series[name][0].SeriesDescription for name in ("trace", "map")]
        for series, name in zip(("map", "trace"), names, strict=True):
            for dataset in study.series[series]:
                dataset.SeriesDescription = name


def call_it(study: Study, random: Random) -> None:
    """A series has a name that it does not deserve."""
    name = random.choice(["ADC", "dADC", "sB1000", "DWI b1000 trace", "eADC", "FA", "T2", "B0", "", "b=2000"])
    for dataset in some_series(study, random):
        dataset.SeriesDescription = name


def trace_called_map(study: Study, random: Random) -> None:
    """The trace is called ADC and its ImageType is of no help."""
    for dataset in study.series.get("trace", []):
        dataset.SeriesDescription = "ADC"
        _image_type(dataset, random.choice([None, ["DERIVED", "PRIMARY", "OTHER"], ["DERIVED", "SECONDARY"]]))


def map_called_trace(study: Study, random: Random) -> None:
    """The map is called a trace and its ImageType is of no help."""
    for dataset in study.series.get("map", []):
        dataset.SeriesDescription = random.choice(["sB1000", "DWI b1000"])
        _image_type(dataset, random.choice([None, ["DERIVED", "PRIMARY", "OTHER"], ["DERIVED", "SECONDARY"]]))


def _image_type(dataset: Dataset, value: list[str] | None) -> None:
    for nest in nests_of(dataset):
        for keyword in ("ImageType", "FrameType"):
            if keyword in nest:
                if value is None:
                    del nest[keyword]
                else:
                    setattr(nest, keyword, value)


def _is_weighted(dataset: Dataset) -> bool:
    """Whether the writer meant an image with a b value above 0."""
    return any(nest.get("DiffusionBValue") for nest in nests_of(dataset)) or any(
        element.value
        for element in dataset
        if element.tag in (Tag(0x0019, 0x100C), Tag(0x0065, 0x1009), Tag(0x0019, 0x110C), Tag(0x0065, 0x1109))
        and not isinstance(element.value, bytes)
    )
