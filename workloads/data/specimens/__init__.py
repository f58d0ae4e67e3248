"""The specimen table: its columns, barcodes, partition, checks and counts. Nothing here reads a source."""
