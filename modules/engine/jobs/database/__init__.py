"""The SQLite file of the job store."""
