"""What the page calls about model files."""
