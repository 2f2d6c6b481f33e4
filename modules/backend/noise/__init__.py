"""Noise of each image from its own seed: sources, Philox, Brownian trees."""
