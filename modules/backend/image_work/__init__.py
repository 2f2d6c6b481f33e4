"""Device work on one image that is no generation."""
