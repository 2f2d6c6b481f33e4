"""Upscalers of finished images: networks of spandrel in tiles, and Pillow's filters."""
