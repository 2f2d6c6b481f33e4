"""Loads extensions by the door `register(webui)`; one that fails is reported and left out."""
