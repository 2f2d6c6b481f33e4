"""Approximate images of latents while a batch runs."""
