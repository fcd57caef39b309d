"""Settings of the STAT lane: what makes a study urgent, and by when its report should be there."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pirtad.worker.contract import Priority

PositiveSeconds = Annotated[float, Field(gt=0)]


class PrioritySettings(BaseModel):
    """Which studies go first, and by when a report should be with the PACS."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stat_calling_ae_titles: tuple[str, ...] = Field((), description="Studies from these senders are STAT.")
    stat_procedure_priorities: tuple[str, ...] = Field(
        ("STAT", "HIGH"), description="STAT by RequestedProcedurePriority (0040,1003) in a header; empty: by none."
    )
    stat_dimse_high: bool = Field(True, description="STAT by C-STORE requests of priority HIGH.")
    objective_routine_s: PositiveSeconds = Field(600, description="From the last image needed to the report.")
    objective_stat_s: PositiveSeconds = Field(180, description="The same for STAT studies.")

    def objective_s(self, priority: Priority) -> float:
        """Seconds from the last image that a report needs to the report with the PACS."""
        return self.objective_stat_s if priority is Priority.STAT else self.objective_routine_s

    @property
    def objectives_s(self) -> tuple[float, float]:
        """Of routine and of STAT studies."""
        return self.objective_routine_s, self.objective_stat_s

    def of_arrival(self, calling_ae: str, *, is_dimse_high: bool) -> tuple[Priority, str]:
        """What an image's coming says of its study, and why."""
        if calling_ae.strip() in {title.strip() for title in self.stat_calling_ae_titles}:
            return Priority.STAT, f"sender {calling_ae.strip()}"
        if is_dimse_high and self.stat_dimse_high:
            return Priority.STAT, "DIMSE priority HIGH"
        return Priority.ROUTINE, ""
