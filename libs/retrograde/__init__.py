"""Retrograde: the open platform that runs the ASTRO method end to end."""

__version__ = "0.1.0"
