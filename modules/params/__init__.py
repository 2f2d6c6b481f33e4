"""Requests, settings, results and events; each field is declared once."""
