"""Model files from the internet: a catalogue of the official ones, and downloads that survive a restart."""
