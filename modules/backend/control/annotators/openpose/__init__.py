"""Poses by OpenPose's own networks (Cao et al., 2019), in the form in which ControlNet's authors publish them."""
