"""Upscalers: names, filters, and the networks in model files."""
