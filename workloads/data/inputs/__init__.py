"""What towers take of a prepared data set: views, tokens and batches. Nothing here knows a model."""
