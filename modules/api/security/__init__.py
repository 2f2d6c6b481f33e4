"""ASGI middlewares of every route: host, origin, password, body size."""
