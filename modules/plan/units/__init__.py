"""ControlNet units as plans hold them: resolved, and checked without the device."""
