"""Which instances of a study a damage hits."""

from __future__ import annotations

from random import Random

from pydicom import Dataset

from support.vendor_writer.study import Packing, Study


def some_series(study: Study, random: Random) -> list[Dataset]:
    return study.series[random.choice([name for name in ("raw", "trace", "map") if name in study.series])]


def some_instances(study: Study, random: Random) -> list[Dataset]:
    """One instance, or all of a series."""
    series = some_series(study, random)
    return [random.choice(series)] if random.random() < 0.4 else series


def nests_of(dataset: Dataset) -> list[Dataset]:
    """The dataset and all items within it."""
    found = [dataset]
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                found += nests_of(item)
    return found


def drop(study: Study, random: Random, keywords: tuple[str, ...]) -> None:
    """One of the attributes is gone from the instances hit, wherever it stands in them."""
    keyword = random.choice(keywords)
    for dataset in some_instances(study, random):
        for nest in nests_of(dataset):
            if keyword in nest:
                del nest[keyword]


def made_of_slices(study: Study, series: list[Dataset]) -> bool:
    """Whether a file is a slice, and not a volume; what is left of a series counts as such while it is a stack."""
    tiled = study.plan.packing in (Packing.SIEMENS_MOSAIC, Packing.UIH_GRID, Packing.ENHANCED)
    return not tiled and len(series) >= study.plan.where.slices - 5
