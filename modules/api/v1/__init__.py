"""The program's own jobs API: /api/v1."""
