"""A1111's HTTP API: /sdapi/v1."""
