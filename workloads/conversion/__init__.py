"""Weights that others released, made into runs of ours, every tensor accounted for. Nothing here trains."""
