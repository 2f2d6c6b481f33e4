"""How models fit into the memory of a device: estimates, policies, offloading, 8-bit weights, tiles of the VAE."""
