"""Finds faces in finished images and restores them."""
