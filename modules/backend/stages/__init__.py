"""Stages of a batch that are used by more than one part: its steps with one model, and decoding."""
