"""Infotexts of other programs and of old A1111 versions, translated."""
