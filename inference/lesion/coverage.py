"""Which part of the head a report is about: what the images hold, and what of it the network saw."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Covered(StrEnum):
    """Whether a part of the brain was assessed. NOT_WHOLLY: some of it or all of it was not."""

    SEEN = "seen"
    NOT_WHOLLY = "not wholly seen"
    NOT_KNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the brain. imaged, assessed: its share, 0 to 1, within the images, and within what the network saw of
    them; None where the head could not be brought onto the template. is_cut: the brain reaches the images' end."""

    covered: Covered
    imaged: float | None = None
    assessed: float | None = None
    is_cut: bool = False

    def words(self) -> str:
        """E.g. "partly outside the images"."""
        if self.covered is Covered.SEEN:
            return "within the images"
        if self.covered is Covered.NOT_KNOWN:
            return "not known whether within the images"
        if self.imaged is None:
            return "not wholly within the images"
        if self.imaged < _NONE_BELOW:
            return "outside the images"
        # The network's grid ends a brain as well; then it holds less than the images.
        if self.imaged < SEEN_FROM or (self.is_cut and (self.assessed or 0.0) >= SEEN_FROM):
            return "partly outside the images"
        return "within the images, but not wholly within what the network saw"


# Shares of a part of the template. A fit errs by some millimetres, so that a part that is seen may lack its rim: a
# twentieth of the lower posterior fossa lies within 4 mm of its foot. Looked at on real heads; see the tests.
SEEN_FROM, _NONE_BELOW = 0.95, 0.05


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was assessed of one study.

    b_value_s_per_mm2: of the DWI. adc_is_computed: by pirtad, from other images. slices: of the DWI.
    head_foot_mm: its extent along the image axis that is closest to the head's. imaged, assessed: shares of a template
    brain within DWI and ADC map, and within the network's grid as well; None where the head could not be brought onto
    the template. lower_posterior_fossa: below z = -45 mm of MNI: the lower part of the cerebellar hemispheres and the
    medulla. vertex: above z = 60 mm of MNI.
    """

    b_value_s_per_mm2: float
    adc_is_computed: bool
    slices: int
    head_foot_mm: float
    imaged: float | None
    assessed: float | None
    lower_posterior_fossa: Part
    vertex: Part

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Coverage:
        """The inverse of `dataclasses.asdict`, after JSON as well."""
        parts = {
            name: Part(**{**raw[name], "covered": Covered(raw[name]["covered"])})
            for name in ("lower_posterior_fossa", "vertex")
        }
        return cls(**{**raw, **parts})

    def lines(self) -> tuple[str, ...]:
        """What was assessed, for a reader, a sentence each."""
        how = "computed by pirtad" if self.adc_is_computed else "as received"
        share = ""
        if self.imaged is not None and self.assessed is not None:
            share = f", {_percent(self.imaged)} of a template brain"
            if _percent(self.assessed) != _percent(self.imaged):
                share += f" ({_percent(self.assessed)} within what the network saw)"
        return (
            f"Assessed: DWI (b {self.b_value_s_per_mm2:.0f} s/mm2) and ADC ({how}).",
            f"Coverage, measured by software: {self.slices} slices, {self.head_foot_mm:.0f} mm head to foot{share}; "
            f"lower posterior fossa {self.lower_posterior_fossa.words()}; vertex {self.vertex.words()}.",
        )

    def gaps(self) -> tuple[str, ...]:
        """What a reader of "normal" must know beside it, a sentence each; none where everything was seen."""
        parts = (("lower posterior fossa", self.lower_posterior_fossa), ("vertex", self.vertex))
        missed = [f"{name} ({part.words()})" for name, part in parts if part.covered is Covered.NOT_WHOLLY]
        unknown = [name for name, part in parts if part.covered is Covered.NOT_KNOWN]
        said = [f"Not wholly assessed: {', '.join(missed)}."] if missed else []
        if unknown:
            said.append(f"Not known whether the images reach: {', '.join(unknown)}.")
        return tuple(said)


# Of a draft whose coverage was not measured.
NOTHING_KNOWN = ("Coverage: not measured.",)
NOTHING_KNOWN_GAPS = ("Not known whether the images reach: lower posterior fossa, vertex.",)


def _percent(share: float) -> str:
    """Rounded down, so that 100 % means all of it."""
    return f"{int(100 * share)} %"
