"""Requests: one class per task; each field is declared once."""
