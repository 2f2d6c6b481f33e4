"""OpenVINO computes the steps of a UNet instead of PyTorch, where the options ask for it."""
