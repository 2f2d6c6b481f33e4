"""The WebUI. README.md in this folder is the floor plan."""
