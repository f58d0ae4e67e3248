"""Mutations of real and made-up files of every format: records, refusals, or a typed error that names the file."""

import io
import random
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.sources.source import Refused
from workloads.data.sources.tables import table_source
from workloads.errors import ClibdError

_CASES = Path(__file__).parents[4] / "shared" / "cases"
_TOKENS = [b'"', b"\t", b"\n", b"\r", b";", b"|", b",", b"\0", b"\xff", b"__", b"tax=", b">", b"@", b"+", b"#", b"_1"]
_TOKENS += [b" " * 50, b'"' * 9, b"<", b"&x;", b"{", b"[", b"sep=;\n", b"\xff\xfe", b"9" * 20, b"A" * 3000]
_META = """<archive xmlns="http://rs.tdwg.org/dwc/text/"><core fieldsTerminatedBy="\\t" ignoreHeaderLines="1"
 rowType="http://rs.tdwg.org/dwc/terms/Occurrence"><files><location>o.txt</location></files><id index="0"/>
 <field index="1" term="http://rs.tdwg.org/dwc/terms/species"/></core><extension fieldsTerminatedBy="\\t"
 ignoreHeaderLines="1" rowType="http://rs.gbif.org/terms/1.0/DNADerivedData"><files><location>d.txt</location></files>
 <coreid index="0"/><field index="1" term="http://rs.gbif.org/terms/dna_sequence"/></extension></archive>"""
_ARCHIVE = {"meta.xml": _META.encode(), "o.txt": b"id\ts\n1\tZoro bus\n", "d.txt": b"id\tx\n1\tACGT\n"}


def _workbook() -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (["id", "species", "nuc"], ["a", "Zoro bus", "ACGT"], ["b", 5, None]):
        book.active.append(row)
    book.save(buffer := io.BytesIO())
    return buffer.getvalue()


def _parquet() -> bytes:
    images = [{"bytes": b"x", "path": "p.jpg"}] * 2
    pq.write_table(pa.table({"id": ["a", "b"], "species": ["Zoro bus", None], "image": images}), buffer := io.BytesIO())
    return buffer.getvalue()


def _seeds() -> dict[str, bytes]:
    """One file of each format, and those of the cases where they are at hand."""
    seeds = {
        "t.csv": b'id,species,image,notes\na,Zoro bus,a.jpg,"x\ny"\nb,,C:\\b.jpg,\n',
        "t.tsv": b'"id"\t"species"\na\t"Zoro bus"\n',
        "t.fasta": b">a|Zoro bus|COI-5P\nACGT\n>b k__A;o__Diptera\nAC\n>c;tax=o:Diptera,s:x;\nAC\n",
        "t.fastq": b"@a|Zoro bus|COI-5P\nACGT\n+\nIIII\n@b\nAC\n+\nII\n",
        "t.jsonl": b'{"id": "a", "species": "Zoro bus", "file_name": "a.jpg"}\n{"id": "b", "barcode": "ACGT"}\n',
        "t.xlsx": _workbook(),
        "t.parquet": _parquet(),
        "t.zip": b"",
    }
    for file in [*_CASES.glob("05*/*.fasta"), *_CASES.glob("03*/*.tsv"), *_CASES.glob("20*/*.csv")]:
        seeds[file.name] = file.read_bytes()[:5000]
    return seeds


SEEDS = _seeds()


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def mutated(chance: random.Random, content: bytes) -> bytes:
    """Some bytes changed, words put in, runs repeated or removed, or the end cut off."""
    made = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        place, way = chance.randrange(len(made) + 1), chance.random()
        if way < 0.3 and made:
            made[place % len(made)] = chance.randrange(256)
        elif way < 0.6:
            made[place:place] = chance.choice(_TOKENS) * chance.choice([1, 1, 2, 30])
        elif way < 0.75:
            del made[place : place + chance.randint(1, 40)]
        elif way < 0.9:
            start = chance.randrange(len(made) + 1)
            made[place:place] = made[start : start + chance.randint(1, 200)]
        else:
            del made[place:]
    return bytes(made)


def archive(chance: random.Random) -> bytes:
    """A Darwin Core archive of which some files, or the archive itself, are mutated."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as made:
        for name, content in _ARCHIVE.items():
            made.writestr(name, mutated(chance, content) if chance.random() < 0.5 else content)
    content = buffer.getvalue()
    return mutated(chance, content) if chance.random() < 0.2 else content


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(sorted(SEEDS)), seed=st.integers(0, 2**32))
def test_any_file_gives_records_refusals_or_an_error_that_names_it(scratch: Path, name: str, seed: int) -> None:
    chance = random.Random(seed)
    path = scratch / name
    path.write_bytes(archive(chance) if name == "t.zip" else mutated(chance, SEEDS[name]))
    started, said = time.process_time(), str(path)
    try:
        for record in table_source(path, {}).records:
            assert isinstance(record, Refused) or "where" in record
            assert not isinstance(record, Refused) or record.reason
    except ClibdError as error:
        said = str(error)
    assert str(path) in said or "--map" in said
    assert time.process_time() - started < 5


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
