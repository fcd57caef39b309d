"""The Structured Report: composed, checked, serialised once."""
