"""Helpers that tests share; no fixtures here."""
