"""Requests to diffusers pipelines."""
