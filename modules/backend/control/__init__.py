"""Control units: what guides a generated image besides its prompts."""
