"""Samplers and noise schedules as mathematics. Tensors are duck-typed; torch is never imported."""
