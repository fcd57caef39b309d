"""Training of the encoder; imports serving code, never the reverse."""
