"""A1111's bodies of requests: their schema, and the requests in them."""
