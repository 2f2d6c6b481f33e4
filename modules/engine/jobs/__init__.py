"""Jobs: queue, store and what a restart restores."""
