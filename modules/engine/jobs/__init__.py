"""Jobs: the queue, the job store and file batches."""
