"""Embeddings, retrieval, accuracies, and the floors beside them."""
