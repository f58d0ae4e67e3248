"""Readers of everything that a specimen table can be made from.

They clean nothing, but for `collect`, which cleans for all."""
