"""Drawn specimens: taxonomies, names, barcodes and pictures. Nothing here reads or writes a file."""
