"""Control models and adapters, told from the headers of their files."""
