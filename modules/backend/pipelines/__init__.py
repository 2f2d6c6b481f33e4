"""The diffusers pipelines of this program, one file per line of families."""
