"""Preprocessors: what makes a control image, such as outlines, of a picture. Without torch; networks run in the backend."""
