"""Accepts jobs, runs them in order, saves their images and reports their progress."""
