"""Units of ControlNet and its kin: what each adds to the steps of a pass."""
