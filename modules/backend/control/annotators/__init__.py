"""Networks that make control images: edges, line art, depth and poses."""
