"""What a prompt adds to the checkpoint, as plans name it: LoRAs, hypernetworks, embeddings."""
