"""Model file formats: safetensors headers, pickles read without running them."""
