"""Files of others: a sound one of each kind, made by the library that usually writes it, and what reads it here."""

import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.faults.mutations import mutated, mutated_json, mutated_lines
from workloads.data.files.image_source import ImageSource, zip_reference
from workloads.data.files.images import shrink
from workloads.data.files.zip_members import zip_members
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import SourceOptions, open_source
from workloads.data.sources.split_lists import read_split_lists
from workloads.errors import RecordError

_REAL = Path(__file__).parents[3] / "shared" / "real"
BARCODE = "AACATTATATTTTATTTTTGGAGCTTGATCAGGAATAGTAGGAACTTCATTAAGTTTATTAATTCGAGCAGAATTAGG" * 4
_META = """<archive xmlns="http://rs.tdwg.org/dwc/text/"><core fieldsTerminatedBy="\\t" ignoreHeaderLines="1"
 rowType="http://rs.tdwg.org/dwc/terms/Occurrence"><files><location>o.txt</location></files><id index="0"/>
 <field index="1" term="http://rs.tdwg.org/dwc/terms/scientificName"/></core><extension fieldsTerminatedBy="\\t"
 ignoreHeaderLines="1" rowType="http://rs.gbif.org/terms/1.0/DNADerivedData"><files><location>d.txt</location></files>
 <coreid index="0"/><field index="1" term="http://rs.gbif.org/terms/dna_sequence"/></extension></archive>"""
Make = Callable[[random.Random], dict[str, bytes]]
Read = Callable[[Path], None]


def imports(name: str) -> Read:
    """Reads a file of this name, or the whole folder, as `clibd data look` does."""

    def read(folder: Path) -> None:
        collect(open_source(str(folder / name if name else folder), "auto", SourceOptions()), None)

    return read


def _text(name: str, content: bytes) -> tuple[Make, Read]:
    return lambda chance: {name: mutated(content, chance, words=True)}, imports(name)


def _binary(name: str, content: Callable[[], bytes]) -> tuple[Make, Read]:
    kept = cache(content)
    return lambda chance: {name: mutated(kept(), chance)}, imports(name)


def _rows(count: int = 12) -> list[dict[str, str]]:
    return [
        {
            "processid": f"AACTA{number}-20",
            "order": "Diptera",
            "family": "Chironomidae",
            "genus": "Zoro",
            "species": f"Zoro bus{'ab'[number % 2]}",
            "nuc": BARCODE[number : 300 + number],
            "image": f"{number}.jpg",
        }
        for number in range(count)
    ]


def _delimited(delimiter: str) -> bytes:
    real = _REAL / "bioscan1m_metadata" / "clibd_val_query_taxonomy.tsv"
    if delimiter == "\t" and real.is_file():
        return b"".join(real.read_bytes().splitlines(keepends=True)[:30])
    rows = _rows()
    return "".join(delimiter.join(line) + "\n" for line in [list(rows[0]), *(row.values() for row in rows)]).encode()


def _fasta() -> bytes:
    real = sorted((_REAL / "coi_canadian_invertebrates").glob("*.fa*"))
    lines = [f">{r['processid']}|{r['species']}|COI-5P|tax=o:{r['order']},g:{r['genus']};\n{r['nuc']}" for r in _rows()]
    if real and real[0].suffix != ".gz":
        lines += real[0].read_text()[:2000].splitlines()
    return "\n".join(lines).encode() + b"\n"


def _fastq() -> bytes:
    return "".join(f"@{r['processid']} {r['species']}\n{r['nuc']}\n+\n{'I' * 300}\n" for r in _rows(4)).encode()


def _json_lines(chance: random.Random) -> dict[str, bytes]:
    return {"t.jsonl": mutated_lines("\n".join(map(json.dumps, _rows())).encode(), chance)}


def _workbook() -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in [list(_rows()[0]), *(list(row.values()) for row in _rows())]:
        book.active.append(row)
    book.save(buffer := io.BytesIO())
    return buffer.getvalue()


@cache
def _workbook_parts() -> Mapping[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(_workbook())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _workbooks(chance: random.Random) -> dict[str, bytes]:
    return {"t.xlsx": _zipped(_workbook_parts(), chance)}


def _parquet() -> bytes:
    rows = [{**row, "image": {"bytes": picture("JPEG"), "path": row["image"]}} for row in _rows()]
    pq.write_table(pa.Table.from_pylist(rows), buffer := io.BytesIO())
    return buffer.getvalue()


def _read_parquet(folder: Path) -> None:
    imports("t.parquet")(folder)
    with ImageSource(str(folder)) as images:
        images.read("parquet:t.parquet!/image/3")


def _zipped(members: Mapping[str, bytes], chance: random.Random) -> bytes:
    """An archive of which some members, or the archive itself, are mutated."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, mutated(content, chance, words=True) if chance.random() < 0.5 else content)
    content = buffer.getvalue()
    return mutated(content, chance) if chance.random() < 0.3 else content


def _darwin_core(chance: random.Random) -> dict[str, bytes]:
    files = {
        "meta.xml": _META.encode(),
        "o.txt": b"id\ts\n" + "".join(f"{n}\t{r['species']}\n" for n, r in enumerate(_rows())).encode(),
        "d.txt": b"id\tx\n" + "".join(f"{n}\t{r['nuc']}\n" for n, r in enumerate(_rows())).encode(),
    }
    return {"t.zip": _zipped(files, chance)}


# --- Images -------------------------------------------------------------------------------------------------------


@cache
def picture(kind: str) -> bytes:
    """A small picture of random pixels."""
    pixels = np.random.default_rng(3).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), kind)
    return buffer.getvalue()


def _image(kind: str, ending: str) -> tuple[Make, Read]:
    real = sorted(path for path in _REAL.glob(f"*images/**/*.{ending}") if path.stat().st_size < 60_000)[:4]

    def make(chance: random.Random) -> dict[str, bytes]:
        photograph = bool(real) and chance.random() < 0.2
        return {f"i.{ending}": mutated(chance.choice(real).read_bytes() if photograph else picture(kind), chance)}

    def read(folder: Path) -> None:
        with ImageSource(str(folder)) as images:
            shrink(images.read(f"i.{ending}"), 16)

    return make, read


def _archive(chance: random.Random) -> dict[str, bytes]:
    """Names that lead out, doubled names, members that lie over one another, sizes that lie, and bombs."""
    names = [
        "a.jpg",
        "b/c.jpg",
        "../up.jpg",
        "/etc/x.jpg",
        "a.jpg",
        "C:\\d.jpg",
        "n\nl.jpg",
        "x" * 300 + ".jpg",
        "ä.jpg",
    ]
    with warnings.catch_warnings(), zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as made:
        warnings.simplefilter("ignore")  # doubled names are meant
        for name in chance.sample(names, 4):
            made.writestr(name, picture("JPEG"))
        if chance.random() < 0.1:
            made.writestr("bomb.jpg", b"\0" * chance.choice((10, 100)) * 2**20)
    content = bytearray(buffer.getvalue())
    entry = content.find(b"PK\1\2")
    way = chance.random()
    if way < 0.5:  # a field of the first entry of the directory: flags, method, sizes, lengths, place
        at = entry + chance.choice((6, 8, 10, 16, 20, 24, 28, 30, 32, 42))
        content[at : at + 2] = struct.pack("<H", chance.choice((0, 1, 0xFFFF, chance.randrange(65536))))
    if way > 0.7:
        return {"t.zip": mutated(bytes(content), chance)}
    return {"t.zip": bytes(content)}


def _read_archive(folder: Path) -> None:
    refused = None
    with ImageSource(str(folder)) as images:
        for member in zip_members(folder / "t.zip"):
            try:
                shrink(images.read(zip_reference("t.zip", member)), 16)
            except RecordError as error:
                refused = error
    if refused:
        raise refused


def _split_lists(chance: random.Random) -> dict[str, bytes]:
    lists = {f"{name}.txt": f"{name}-1\n{name}-2\n".encode() for name in ("train", "val", "test")}
    if chance.random() < 0.5:
        return {"l.zip": _zipped(lists, chance)}
    return {"l.csv": mutated(b"id,split\na,train\nb,val\nc,test\n" * 3, chance, words=True)}


def _read_lists(folder: Path) -> None:
    (path,) = folder.glob("l.*")
    read_split_lists(path)


def _features(chance: random.Random) -> dict[str, bytes]:
    np.save(buffer := io.BytesIO(), np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32))
    return {"t.csv": _delimited(","), "image_features.npy": mutated(buffer.getvalue(), chance, words=True)}


def _lineages(chance: random.Random) -> dict[str, bytes]:
    lineage = json.dumps({f"Zoro bus{letter}": ["Diptera", "Zoridae", "Zoro"] for letter in "abc"}).encode()
    table = b"species,genus,id,dna\n" + b"".join(f"Zoro bus{c},Zoro,{c},ACGT\n".encode() for c in "abc")
    return {"specie_to_other_labels.json": mutated_json(lineage, chance), "INSECT_metadata.csv": table}


def _everything(*makers: Make) -> Make:
    return lambda chance: {name: content for make in makers for name, content in make(chance).items()}


FOREIGN: dict[str, tuple[int, Make, Read]] = {
    "CSV": (900, *_text("t.csv", _delimited(","))),
    "TSV": (900, *_text("t.tsv", _delimited("\t"))),
    "FASTA": (900, *_text("t.fasta", _fasta())),
    "FASTQ": (500, *_text("t.fastq", _fastq())),
    "JSON lines": (700, _json_lines, imports("t.jsonl")),
    "workbook": (300, _workbooks, imports("t.xlsx")),
    "Parquet table and images": (1500, _binary("t.parquet", _parquet)[0], _read_parquet),
    "Darwin Core archive": (700, _darwin_core, imports("t.zip")),
    "several tables in a folder": (
        400,
        _everything(_text("a.csv", _delimited(","))[0], _text("b.fasta", _fasta())[0]),
        imports(""),
    ),
    "JPEG": (1200, *_image("JPEG", "jpg")),
    "PNG": (1200, *_image("PNG", "png")),
    "TIFF": (900, *_image("TIFF", "tiff")),
    "WebP": (600, *_image("WEBP", "webp")),
    "BMP": (600, *_image("BMP", "bmp")),
    "zip of images": (900, _archive, _read_archive),
    "lists of splits": (400, _split_lists, _read_lists),
    "npy beside a table": (600, _features, imports("t.csv")),
    "lineages of INSECT": (200, _lineages, imports("")),
}
"""How many are made by default, what makes the files of one, and what reads them."""
