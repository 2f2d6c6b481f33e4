"""Images as files: names, metadata, saving; and the operations on their pixels. Pillow and numpy only."""
