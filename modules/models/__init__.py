"""Files in the models folders: listed, identified, hashed and converted. Knows nothing of torch."""
