"""Jobs that generate nothing from prompts: their plans, and the table that finds the planner of a request."""
