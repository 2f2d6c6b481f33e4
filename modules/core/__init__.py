"""Flags, paths, registries, errors and atomic file writes. Standard library only."""
