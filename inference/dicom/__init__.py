"""Headers first: classify series, choose DWI and ADC, assemble volumes."""
