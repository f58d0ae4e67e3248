"""A megabyte of what costs most to read, in every format; `tests/faults` has mutations of all of them."""

import time
from pathlib import Path

import pytest

from workloads.data.sources.tables import table_source


@pytest.mark.parametrize(
    ("name", "piece"),
    [
        ("t.csv", b'"\n'),
        ("t.csv", b'a,"b\n'),
        ("t.csv", b'"' * 1000 + b"\n"),
        ("t.tsv", b'a\t"b\n'),
        ("t.fasta", b">" + b"a__;" * 1000 + b"\nACGT\n"),
        ("t.fasta", b">a " + b" ;_1" * 1000 + b"\nACGT\n"),
        ("t.fastq", b"@\n"),
        ("t.jsonl", b"[" * 999 + b"\n"),
        ("t.csv", b"\xff,\xfe\n"),
    ],
    ids=lambda value: repr(value)[:16],
)
def test_a_megabyte_of_what_is_worst_is_read_in_five_seconds(name: str, piece: bytes, tmp_path: Path) -> None:
    start = {"t.csv": b"id,species\n", "t.tsv": b"id\tspecies\n", "t.jsonl": b'{"id": "a", "image": "b"}\n'}
    start |= {"t.fastq": b"@a\nACGT\n+\nIIII\n"}
    (tmp_path / name).write_bytes(start.get(name, b"") + piece * (2**20 // len(piece)))
    started = time.process_time()
    assert sum(1 for _ in table_source(tmp_path / name, {}).records) >= 1
    assert time.process_time() - started < 5
