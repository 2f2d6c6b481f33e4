"""The checkpoint of a request: found by name, and what suits it."""
