"""The gallery: every saved image of this program and of an A1111 installation, indexed in the background."""
