"""Figures of finished runs: one file a figure, each a pure function of what an evaluation left."""
