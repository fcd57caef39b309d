"""The settings of the series choice: what a site says about its own scanners' series.

The rules that follow from them are `pirtad.worker.selection.selection_rules`; here nothing of the offline part is
imported, so that the listener stays light.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_STRICT = ConfigDict(extra="forbid", frozen=True)
# Chosen: three names without a letter or digit in common. What is found in all of them is found in about any name.
_UNLIKE_TEXTS = ("a", "DWI", "sB1000 x")


def _usable_pattern(pattern: str) -> str:
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    if pattern and all(compiled.search(text) for text in _UNLIKE_TEXTS):
        raise ValueError("finds about any text; leave it out, or say what has to be there")
    return pattern


Pattern = Annotated[str, AfterValidator(_usable_pattern)]
RuleKind = Literal["b0", "direction", "trace", "adc", "other"]


class SeriesRuleSettings(BaseModel):
    """A site's word on certain series; it wins over what their headers say."""

    model_config = _STRICT

    description: Pattern = Field(
        "",
        description="Found in the series' name (regular expression, anywhere, case ignored).",
        examples=["^ax dwi iso"],
    )
    manufacturer: Pattern = Field(
        "", description="Found in the manufacturer's name, likewise; with both, both must be found.", examples=["acme"]
    )
    kind: RuleKind | None = Field(
        None,
        description='What the images are: "b0", "direction", "trace", "adc", or "other" (none).',
        examples=["trace"],
    )
    ignore: bool = Field(False, description="Keep these series out.")
    b_value_s_per_mm2: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="b value of its images that state none.", examples=[1000.0]
    )
    adc_unit_mm2_per_s: float | None = Field(
        None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="What 1 in an ADC map (rescaled) means in mm2/s; for maps that state it wrongly or not.",
        examples=[1e-6],
    )
    score: float = Field(0.0, allow_inf_nan=False, description="Added to their score: above 0 to prefer them.")

    @model_validator(mode="after")
    def _is_about_something(self) -> SeriesRuleSettings:
        if not self.description and not self.manufacturer:
            raise ValueError("needs a description or a manufacturer: it would be about every series")
        return self

    @model_validator(mode="after")
    def _says_something(self) -> SeriesRuleSettings:
        facts = (self.kind, self.b_value_s_per_mm2, self.adc_unit_mm2_per_s, self.score or None)
        said = any(fact is not None for fact in facts)
        if self.ignore and said:
            raise ValueError("ignore keeps the series out; nothing else can be said about it")
        if not self.ignore and not said:
            raise ValueError("says nothing: give kind, ignore, b_value_s_per_mm2, adc_unit_mm2_per_s or score")
        return self

    @model_validator(mode="after")
    def _fits_its_kind(self) -> SeriesRuleSettings:
        if self.b_value_s_per_mm2 is not None and self.kind in ("b0", "adc", "other"):
            raise ValueError(f'b_value_s_per_mm2 has no meaning for kind "{self.kind}"')
        if self.adc_unit_mm2_per_s is not None and self.kind not in (None, "adc"):
            raise ValueError(f'adc_unit_mm2_per_s has no meaning for kind "{self.kind}"')
        return self


class SeriesSettings(BaseModel):
    """How DWI and ADC are chosen among the series of a study."""

    model_config = _STRICT

    compute_trace: bool = Field(True, description="Compute a missing trace from single directions.")
    compute_adc: bool = Field(True, description="Compute a missing ADC map from images of several b values.")
    repeats: Literal["refuse", "last"] = Field(
        "refuse", description='Several acquisitions that fit equally well: "refuse" the study, or take the "last".'
    )
    rules: tuple[SeriesRuleSettings, ...] = Field(
        (), description="Site rules, as [[series.rules]] tables; the first that is about a series holds."
    )
