"""Dynamic prompts: templates with wildcards, `{a|b}` and variables, from which prompts are drawn."""
