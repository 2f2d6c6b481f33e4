"""The pictures of control units, and what units do to finished images."""
