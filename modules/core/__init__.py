"""Ground floor: flags, paths, registries, errors and events. Standard library only."""
