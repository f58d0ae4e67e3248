"""What is known to fall short and is being mended; empty when it is."""

PENDING: frozenset[str] = frozenset()
"""`leftovers`: *.tmp files and sorting-* folders of killed commands stay.

`claim`: a preparation that was killed as it wrote source.json, its first file, leaves source.json.*.tmp alone, and the
next one says that the folder is not empty.

`unnamed`: of a disk that is full, what pyarrow says names no file."""
UNREAD: tuple[str, ...] = ()
"""Readers of ours that meet some damage with a traceback."""
