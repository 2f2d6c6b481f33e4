"""What the page itself calls: /internal."""
