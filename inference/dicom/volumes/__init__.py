"""Frames to volumes: the only place where pixels are read."""
