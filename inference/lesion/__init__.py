"""From the lesion map to facts about this patient: volume, side, foci, diffusivity, arterial territories."""
