"""What the page's forms need of the engine: uploads, and requests made from the values of a form."""
