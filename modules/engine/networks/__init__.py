"""The networks that prompts can add, as the page's cards show them."""
