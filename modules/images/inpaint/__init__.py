"""Inpainting in pixels: masks, masked content, the canvas around the cropped region."""
