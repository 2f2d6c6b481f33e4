"""Samplers and noise schedules as mathematics. Tensors are used by duck type; torch is never imported."""
