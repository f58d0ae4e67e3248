"""What is fast, and by how much; each figure with its commit and hardware under results/."""
