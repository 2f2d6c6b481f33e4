"""What runs before anything is installed: checks, set-up and the start. Standard library only."""
