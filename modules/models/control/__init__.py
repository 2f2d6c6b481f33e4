"""Control models: ControlNet and its kin, as files; what runs them is backend/control."""
