"""The tabs: one file or one folder each."""
