"""Model file formats: safetensors headers, pickles parsed without running code."""
