"""The queue page, its JSON and its metrics."""
