"""The pages: one file a kind, each a function of the catalogue and of its address."""
