"""Pictures as files: names, metadata, saving. Pillow only."""
