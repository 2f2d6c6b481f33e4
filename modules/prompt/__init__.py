"""Prompts as text and token ids. Knows nothing of tensors."""
