"""What one measurement prints: an evaluation, zero-shot learning, costs; as cells, like every table."""
