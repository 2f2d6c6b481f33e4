"""Routes that the page itself calls: /internal."""
