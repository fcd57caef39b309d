"""Public image sets and hospital tables, each read into the same record."""
