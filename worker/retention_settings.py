"""Settings of retention: for how long images and report objects are kept once everything was delivered."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RetentionSettings(BaseModel):
    """How long what was delivered is kept; by default for ever. What was not delivered is never removed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    age_days: float = Field(0, ge=0, description="Remove a study's images so long after its delivery. 0: never.")
    free_below_bytes: int = Field(
        0, ge=0, description="With less free in data_dir: remove images, oldest delivery first. 0: never."
    )
    keep_results_days: float = Field(
        0, ge=0, description="Remove report objects so long after delivery, the images being gone. 0: never."
    )

    @model_validator(mode="after")
    def _results_stay_longer(self) -> RetentionSettings:
        if 0 < self.keep_results_days < self.age_days:
            raise ValueError("keep_results_days is less than age_days: a revision or retraction needs those objects")
        return self

    @property
    def is_on(self) -> bool:
        """Whether anything is ever removed."""
        return bool(self.age_days or self.free_below_bytes or self.keep_results_days)
