"""Adapters: networks and attention hooks that steer a UNet without a copy of it."""
