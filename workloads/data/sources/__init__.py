"""Readers: each turns a file or folder of one kind into a `workloads.data.source.Source`."""
