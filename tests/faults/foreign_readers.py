"""Tables of others: a sound one of each kind, made by the library that usually writes it, and what reads it here."""

import csv
import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl.utils.exceptions import IllegalCharacterError

from tests.faults.image_readers import REAL, picture
from tests.faults.mutations import (
    Make,
    Read,
    Sound,
    mutated,
    mutated_json,
    mutated_lines,
    mutated_table,
)
from workloads.data.files.image_source import ImageSource
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import SourceOptions, open_source
from workloads.data.sources.split_lists import read_split_lists

BARCODE = "AACATTATATTTTATTTTTGGAGCTTGATCAGGAATAGTAGGAACTTCATTAAGTTTATTAATTCGAGCAGAATTAGG" * 4
_META = """<archive xmlns="http://rs.tdwg.org/dwc/text/"><core fieldsTerminatedBy="\\t" ignoreHeaderLines="1"
 rowType="http://rs.tdwg.org/dwc/terms/Occurrence"><files><location>o.txt</location></files><id index="0"/>
 <field index="1" term="http://rs.tdwg.org/dwc/terms/scientificName"/></core><extension fieldsTerminatedBy="\\t"
 ignoreHeaderLines="1" rowType="http://rs.gbif.org/terms/1.0/DNADerivedData"><files><location>d.txt</location></files>
 <coreid index="0"/><field index="1" term="http://rs.gbif.org/terms/dna_sequence"/></extension></archive>"""
_CHECKED = ("t.parquet", "image", 3)


def imports(name: str) -> Read:
    """Reads a file of this name, or the whole folder, as `clibd data look` does."""

    def read(folder: Path) -> None:
        collect(open_source(str(folder / name if name else folder), "auto", SourceOptions()), None)

    return read


def _text(name: str, content: Callable[[], bytes]) -> Make:
    kept = cache(content)
    return lambda chance: {name: mutated(kept(), chance, words=True)}


def _rows(first: int = 0, without: Sequence[str] = ()) -> list[dict[str, str]]:
    rows = [
        {
            "processid": f"AACTA{number}-20",
            "order": "Diptera",
            "family": "Chironomidae",
            "genus": "Zoro",
            "species": f"Zoro bus{'ab'[number % 2]}",
            "nuc": BARCODE[number % 12 : 300 + number % 12],
            "image": f"{number}.jpg",
        }
        for number in range(first, first + 12)
    ]
    return [{name: value for name, value in row.items() if name not in without} for row in rows]


def _delimited(rows: Sequence[Mapping[str, str]], delimiter: str = ",") -> bytes:
    writer = csv.DictWriter(buffer := io.StringIO(), list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def _real(name: str, lines: int) -> bytes:
    """The first lines of a real file; nothing where there is none on this machine."""
    if not (REAL / name).is_file():
        return b""
    with gzip.open(REAL / name) as stream:
        return b"".join(islice(stream, lines))


def _tsv() -> bytes:
    return _real("bioscan1m_metadata/bioscan1m_small_validation_metadata.tsv.gz", 30) or _delimited(_rows(), "\t")


def _fasta() -> bytes:
    bold = [f">{row['processid']}|{row['species']}|COI-5P\n{row['nuc']}\n" for row in _rows()]
    return "".join(bold).encode() + _real("coi_canadian_invertebrates/coi_canadian_invertebrates.fasta.gz", 8)


def _fastq() -> bytes:
    return "".join(f"@{r['processid']} {r['species']}\n{r['nuc']}\n+\n{'I' * 300}\n" for r in _rows()[:4]).encode()


def _json_lines(chance: random.Random) -> dict[str, bytes]:
    return {"t.jsonl": mutated_lines("\n".join(map(json.dumps, _rows())).encode(), chance)}


# --- Parquet, workbooks, archives ---------------------------------------------------------------------------------


@cache
def _pictured() -> pa.Table:
    rows = [{**row, "image": {"bytes": picture("JPEG"), "path": row["image"]}} for row in _rows()]
    return pa.Table.from_pylist(rows)


def _parquet(chance: random.Random) -> dict[str, bytes]:
    """Values, columns and rows that the library has written as it writes them; and bytes that it never writes."""
    as_table = chance.random() < 0.5
    table = mutated_table(_pictured(), chance) if as_table else _pictured()
    pages, compression = chance.choice((100, 3)), chance.choice(("none", "snappy", "zstd"))
    pq.write_table(table, buffer := io.BytesIO(), row_group_size=pages, compression=compression)
    return {"t.parquet": buffer.getvalue() if as_table else mutated(buffer.getvalue(), chance)}


def _read_parquet(folder: Path) -> None:
    imports("t.parquet")(folder)
    with ImageSource(str(folder)) as images:
        images.read("parquet:{}#{}#{}".format(*_CHECKED))


def _workbook(table: pa.Table) -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in [table.column_names, *zip(*(column.to_pylist() for column in table.columns), strict=True)]:
        try:
            book.active.append(row)
        except (ValueError, IllegalCharacterError):  # signs or values that no workbook can hold
            continue
    book.save(buffer := io.BytesIO())
    return buffer.getvalue()


@cache
def _workbook_parts() -> Mapping[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(_workbook(pa.Table.from_pylist(_rows())))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _workbooks(chance: random.Random) -> dict[str, bytes]:
    if chance.random() < 0.4:
        return {"t.xlsx": _workbook(mutated_table(pa.Table.from_pylist(_rows()), chance))}
    return {"t.xlsx": _zipped(_workbook_parts(), chance)}


def _zipped(members: Mapping[str, bytes], chance: random.Random) -> bytes:
    """An archive of which a member or two, or the archive itself, are mutated."""
    chosen = chance.sample(sorted(members), chance.choice((0, 1, 1, 2)))
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, mutated(content, chance, words=True) if name in chosen else content)
    content = buffer.getvalue()
    return mutated(content, chance) if not chosen or chance.random() < 0.1 else content


def _darwin_core(chance: random.Random) -> dict[str, bytes]:
    files = {
        "meta.xml": _META.encode(),
        "o.txt": b"id\ts\n" + "".join(f"{n}\t{r['species']}\n" for n, r in enumerate(_rows())).encode(),
        "d.txt": b"id\tx\n" + "".join(f"{n}\t{r['nuc']}\n" for n, r in enumerate(_rows())).encode(),
    }
    return {"t.zip": _zipped(files, chance)}


# --- Several files ------------------------------------------------------------------------------------------------


def _zip_of_lists(chance: random.Random) -> dict[str, bytes]:
    names = ("train_seen", "val_seen", "seen_keys", "val_unseen_keys", "test_unseen_keys")
    lists = {f"{name}.txt": f"{name}-1\n{name}-2\n".encode() for name in names}
    lists["all_keys.txt"] = b"".join(lists[f"{name}.txt"] for name in names[2:])
    return {"l.zip": _zipped(lists, chance)}


def _list_of_splits() -> bytes:
    return b"id,split\n" + b"".join(b"%s%d,%s\n" % (s, n, s) for n in range(3) for s in (b"train", b"val", b"test"))


def _read_lists(folder: Path) -> None:
    (path,) = folder.glob("l.*")
    read_split_lists(path)


def _features(chance: random.Random) -> dict[str, bytes]:
    np.save(buffer := io.BytesIO(), np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32))
    return {"t.csv": _delimited(_rows()), "image_features.npy": mutated(buffer.getvalue(), chance, words=True)}


def _insect(chance: random.Random) -> dict[str, bytes]:
    """The processed table with its lineages, of which one is mutated."""
    names = {f"Zoro bus{letter}": {"order": "Diptera", "family": "Zoridae", "genus": "Zoro"} for letter in "abc"}
    lineages = json.dumps(names).encode()
    flags = {name: int(name[:5] == "train") for name in ("trainval", "train", "val", "test_seen", "test_unseen")}
    rows = [
        {"bold_ids": r["processid"], "ids": r["processid"], "labels": n % 2, "species": r["species"]}
        | {"nucleotides": r["nuc"], **flags}
        for n, r in enumerate(_rows())
    ]
    table = _delimited([{name: str(value) for name, value in row.items()} for row in rows])
    if chance.random() < 0.3:
        return {"specie_to_other_labels.json": lineages, "INSECT_metadata.csv": mutated(table, chance, words=True)}
    return {"specie_to_other_labels.json": mutated_json(lineages, chance), "INSECT_metadata.csv": table}


def _some_of(*makers: Make) -> Make:
    """Files of which one is mutated, or all are."""

    def make(chance: random.Random) -> dict[str, bytes]:
        chosen = chance.choice((*makers, None))
        by = {maker: chance if chosen in (maker, None) else Sound(0) for maker in makers}
        return {name: content for maker in makers for name, content in maker(by[maker]).items()}

    return make


_BARE = ("nuc", "image")
_SEVERAL = _some_of(*(_text(f"{n}.csv", lambda n=n: _delimited(_rows(n))) for n in (0, 12)))  # type: ignore[misc]
_BESIDE = _some_of(_text("a.csv", lambda: _delimited(_rows(without=_BARE))), _text("b.fasta", _fasta))

FOREIGN: dict[str, tuple[int, Make, Read]] = {
    "CSV": (900, _text("t.csv", lambda: _delimited(_rows())), imports("t.csv")),
    "TSV": (900, _text("t.tsv", _tsv), imports("t.tsv")),
    "FASTA": (900, _text("t.fasta", _fasta), imports("t.fasta")),
    "FASTQ": (500, _text("t.fastq", _fastq), imports("t.fastq")),
    "JSON lines": (700, _json_lines, imports("t.jsonl")),
    "workbook": (300, _workbooks, imports("t.xlsx")),
    "Parquet table and images": (1500, _parquet, _read_parquet),
    "Darwin Core archive": (700, _darwin_core, imports("t.zip")),
    "several tables in a folder": (300, _SEVERAL, imports("")),
    "table beside sequences": (300, _BESIDE, imports("")),
    "list of splits": (200, _text("l.csv", _list_of_splits), _read_lists),
    "zip of lists": (200, _zip_of_lists, _read_lists),
    "npy beside a table": (600, _features, imports("t.csv")),
    "table and lineages of INSECT": (200, _insect, imports("")),
}
"""As `IMAGES` has them."""
