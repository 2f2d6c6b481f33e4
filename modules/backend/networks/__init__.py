"""What a prompt adds to a loaded checkpoint."""
