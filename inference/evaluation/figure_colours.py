"""Colours of the figures: Okabe and Ito's, which people who see colours differently can tell apart."""

from __future__ import annotations

from pirtad.inference.findings import Territory

COLOUR_OF = {
    Territory.NORMAL: "#999999",
    Territory.ANTERIOR: "#D55E00",
    Territory.DEEP_GRAY_MATTER: "#0072B2",
    Territory.POSTERIOR: "#009E73",
}
# Frames as in the paper's figure 4.
RIGHT, WRONG = "#00A000", "#D00000"
LESION = "#FF3030"
