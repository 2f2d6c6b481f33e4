"""LDM `.yaml` configs: one module per section, as typed values."""
