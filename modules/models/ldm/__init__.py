"""LDM `.yaml` configs: each section as typed values."""
