"""Scripts as the page runs them."""
