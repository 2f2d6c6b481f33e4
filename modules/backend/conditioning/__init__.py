"""Conditioning: prompts, init images, concat channels and depth as tensors."""
