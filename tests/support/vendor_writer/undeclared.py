"""Single directions after a system that passes on standard attributes alone: a b value is left, no direction is."""

from __future__ import annotations

from pydicom import Dataset

from support.vendor_writer.shots import Shot

_PRIVATE = {
    (0x0019, "SIEMENS MR HEADER"): (0x0C, 0x0D, 0x0E),
    (0x0029, "SIEMENS CSA HEADER"): (0x10,),
    (0x0019, "GEMS_ACQU_01"): (0xBB, 0xBC, 0xBD),
    (0x0043, "GEMS_PARM_01"): (0x30, 0x39),
    (0x2001, "Philips Imaging DD 001"): (0x03, 0x04),
    (0x2005, "Philips MR Imaging DD 001"): (0xB0, 0xB1, 0xB2),
    (0x0065, "Image Private Header"): (0x09, 0x2D, 0x37),
}
_STANDARD = (
    "DiffusionDirectionality",
    "DiffusionGradientOrientation",
    "DiffusionGradientDirectionSequence",
    "ImageComments",
)


def undeclare(dataset: Dataset, shot: Shot) -> None:
    """Take away all that tells a direction, from a header or from the item of an MR Diffusion macro."""
    groups = {element.tag.group for element in dataset if element.tag.is_private}
    for (group, creator), offsets in _PRIVATE.items():
        if group not in groups or creator not in dataset.private_creators(group):
            continue
        block = dataset.private_block(group, creator)
        for offset in offsets:
            if offset in block:
                del block[offset]
    for keyword in _STANDARD:
        if keyword in dataset:
            delattr(dataset, keyword)
    if "SequenceName" in dataset:
        # '*ep_b1000#3' counts directions.
        dataset.SequenceName = dataset.SequenceName.split("#")[0]
    dataset.DiffusionBValue = shot.b_value
