"""The only layer that imports torch: loads checkpoints and generates images."""
