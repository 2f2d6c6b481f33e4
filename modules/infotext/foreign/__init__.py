"""Converts infotexts of other programs and of old A1111 versions to A1111's format."""
