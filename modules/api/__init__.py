"""HTTP: the door guard, the page's live routes, and A1111's /sdapi/v1."""
