"""The contrastive loss, the order of specimens, the loop and its checkpoints."""
