"""Networks that prompts add to a checkpoint: one file per kind."""
