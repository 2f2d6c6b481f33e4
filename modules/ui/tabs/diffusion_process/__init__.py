"""The Diffusion process tab: how an image becomes noise, and noise an image."""
