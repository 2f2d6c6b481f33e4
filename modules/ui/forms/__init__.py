"""Forms: components for the declared fields, and how they are read and filled."""
