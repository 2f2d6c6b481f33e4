"""Sampling algorithms, one file per family; each sampler is a generator (see sampling/protocol)."""
