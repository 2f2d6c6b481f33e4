"""Checkpoint files to networks: keys, weights, cache."""
