"""Runs: their lifecycle, their stages, and the training jobs they launch."""
