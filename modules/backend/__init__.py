"""The only floor that imports torch: from checkpoint files to pictures."""
