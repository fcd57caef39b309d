"""The structured radiological finding of PIRTA (table 1) and the four classes of its encoder (section 2.3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Territory(StrEnum):
    """The four classes, in the order of the encoder's logits."""

    NORMAL = "normal"
    ANTERIOR = "anterior"
    DEEP_GRAY_MATTER = "deep_gray_matter"
    POSTERIOR = "posterior"

    @property
    def phrase(self) -> str:
        """The words of table 1, e.g. 'anterior circulation'."""
        return _PHRASES[self]


_PHRASES = {
    Territory.NORMAL: "normal",
    Territory.ANTERIOR: "anterior circulation",
    Territory.DEEP_GRAY_MATTER: "deep gray matter",
    Territory.POSTERIOR: "posterior circulation",
}


class SignalClass(StrEnum):
    """Signal of the lesion on DWI, not clinical severity (table 1, "#Class")."""

    STRONG = "strong"
    MILD = "mild"


class InfarctType(StrEnum):
    """Table 1, "#Infarction type"."""

    LARGE_VASCULAR_TERRITORIAL = "large vascular territorial"
    WEDGE_SHAPED_VASCULAR_TERRITORIAL = "wedge-shaped vascular territorial"
    SMALL_LACUNE = "small lacune"
    SMALL_STRIATO_CAPSULAR = "small striato-capsular"
    SMALL_DIFFUSION_RESTRICTION = "small diffusion restriction"


NORMAL_FINDING = "No diffusion restriction detected within the coverage. Does not exclude acute ischaemic stroke."


@dataclass(frozen=True, slots=True)
class Finding:
    """One structured finding. `signal_class` and `infarct_type` are None exactly when the territory is normal."""

    territory: Territory
    signal_class: SignalClass | None = None
    infarct_type: InfarctType | None = None

    def __post_init__(self) -> None:
        described = {self.signal_class is not None, self.infarct_type is not None}
        if described != {self.territory is not Territory.NORMAL}:
            raise ValueError(f"a {self.territory} finding with class {self.signal_class} and type {self.infarct_type}")

    def sentence(self) -> str:
        """Table 1's template sentence; the type that ends in 'diffusion restriction' does not say it twice."""
        if self.territory is Territory.NORMAL:
            return NORMAL_FINDING
        described = str(self.infarct_type).removesuffix(" diffusion restriction")
        return (
            f"There is {self.signal_class} {described} diffusion restriction in the {self.territory.phrase} territory."
        )
