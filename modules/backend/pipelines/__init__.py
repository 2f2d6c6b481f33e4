"""Runs diffusers pipelines with our scheduler and UNet wrapper."""
