"""What a merge of checkpoints is: recipes, the tensors of the result, its name and metadata. Knows headers, no weights."""
