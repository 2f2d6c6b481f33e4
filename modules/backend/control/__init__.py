"""Control units: what guides a generated image in addition to its prompts."""
