"""CLIBD from a notebook: embed images and barcodes, search databases, identify specimens, and score answers."""
