"""Prompts as text and token numbers. Knows nothing of tensors."""
