"""Measurements as functions: each makes one kind of folder whole, from a run or a model to sealed files."""
