"""What lies in the models folder: found, named, recognised and hashed. Nothing is loaded here."""
