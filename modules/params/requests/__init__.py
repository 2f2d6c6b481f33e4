"""Requests: one class per task, each field declared once."""
