"""Recorded diffusion processes, as the page's viewer shows them."""
