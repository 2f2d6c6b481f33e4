"""Scripts: what makes several requests of one, and goes on with the results. Knows nothing of the engine or the backend."""
