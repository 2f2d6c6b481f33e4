"""Draws, trains, exports and judges the small demo checkpoints of the WebUI."""
