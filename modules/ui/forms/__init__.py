"""Forms: declared fields to components and back."""
