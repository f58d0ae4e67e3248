"""Formats of unknown origin, opened so that they do no harm: zip, HDF5, MATLAB, images.

Nothing here knows a specimen."""
