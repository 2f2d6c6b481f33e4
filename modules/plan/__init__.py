"""Frozen plans: a request with everything the backend needs, fixed when it is submitted."""
