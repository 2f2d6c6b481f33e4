"""Makes one checkpoint of others, tensor by tensor from their files."""
