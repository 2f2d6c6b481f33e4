"""Jobs: taken in, carried out in order, saved, and told of."""
