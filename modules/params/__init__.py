"""What can be asked and answered: requests, settings, results and progress, each field declared once."""
