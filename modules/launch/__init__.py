"""Checks, installs and starts the program. Runs before anything is installed: standard library only."""
