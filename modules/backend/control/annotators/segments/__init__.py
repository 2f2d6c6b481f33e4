"""Networks that find segments: by classes, or the regions of whatever is there."""
