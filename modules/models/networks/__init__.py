"""Files of networks that a prompt adds to a checkpoint: LoRA, embeddings, hypernetworks."""
