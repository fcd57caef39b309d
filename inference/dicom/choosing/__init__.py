"""Which volumes of a study are the DWI and the ADC map, from headers alone."""
