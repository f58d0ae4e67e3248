"""Specimens, from anybody's files to the tensors that towers take; imports run down this list, never up.

files        formats of unknown origin, opened safely; knows nothing of specimens
packages     public packages, fetched whole
specimens    the specimen table: its columns, barcodes, splits, checks and counts
synthetic    drawn specimens
sources      readers of everything that a specimen table can be made from
prepared     the data set on disk that runs read
inputs       batches of tensors, made of a prepared data set
"""
