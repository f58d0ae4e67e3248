"""The towers that embed images, barcodes and text, and what fine-tunes them."""
