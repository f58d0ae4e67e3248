"""Mutations within archives, packages and folders: everything is counted, or an error names the file.

What is mutated is the content of a part that is packed well again, where a mutated archive is mostly none at all.
"""

import io
import json
import random
import shutil
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
from PIL import Image

from tests.faults.mutations import Sound, mutated
from workloads.data.sources.collect import collect
from workloads.data.sources.image_survey import look_at_images
from workloads.data.sources.tables import table_source
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import ClibdError

_META = """<archive xmlns="http://rs.tdwg.org/dwc/text/"><core fieldsTerminatedBy="\\t" ignoreHeaderLines="1"
 rowType="http://rs.tdwg.org/dwc/terms/Occurrence"><files><location>o.txt</location></files><id index="0"/>
 <field index="1" term="http://rs.tdwg.org/dwc/terms/species"/></core><extension fieldsTerminatedBy="\\t"
 ignoreHeaderLines="1" rowType="http://rs.gbif.org/terms/1.0/DNADerivedData"><files><location>d.txt</location></files>
 <coreid index="0"/><field index="1" term="http://rs.gbif.org/terms/dna_sequence"/></extension></archive>"""
_NAMES = ["Zoro bus", "Zoroidae", "train", " ", "é", "a'b", "sp.", ".hidden", "CON", "x" * 60, "Diptera", "__MACOSX"]


def _picture() -> bytes:
    Image.new("RGB", (9, 9)).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


PICTURE = _picture()


def _zipped(chance: random.Random, parts: dict[str, bytes]) -> bytes:
    """A well packed archive of which one part is mutated."""
    chosen = chance.choice(sorted(parts))
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, mutated(content, chance, words=True) if name == chosen else content)
    return buffer.getvalue()


def darwin_core(chance: random.Random, folder: Path) -> Path:
    parts = {"meta.xml": _META.encode(), "o.txt": b"id\ts\n1\tZoro bus\n2\t\n", "d.txt": b"id\tx\n1\tACGT\n2\tACGA\n"}
    if chance.random() < 0.5:
        (folder / "t.zip").write_bytes(_zipped(chance, parts))
        return folder / "t.zip"
    for name, content in parts.items():
        (folder / name).write_bytes(mutated(content, chance, words=True) if chance.random() < 0.5 else content)
    return folder


def package(chance: random.Random, folder: Path) -> Path:
    described = {"resources": [{"name": "t", "path": chance.choice(["t.tsv", ["t.tsv", "u.tsv"], "../t.tsv", 5, ""])}]}
    text = json.dumps(described).encode()
    (folder / "datapackage.json").write_bytes(mutated(text, chance, words=True) if chance.random() < 0.5 else text)
    for name in ("t.tsv", "u.tsv"):
        content = b"processid\tspecies\tnuc\nA\tZoro bus\tACGT\n"
        (folder / name).write_bytes(mutated(content, chance, words=True) if chance.random() < 0.5 else content)
    return folder


def class_folders(chance: random.Random, folder: Path) -> Path:
    for number in range(chance.randint(1, 6)):
        place = folder.joinpath(*chance.choices(_NAMES, k=chance.randint(1, 3)))
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.{chance.choice(['png', 'PNG', 'jpg', 'gif', 'txt'])}").write_bytes(
            mutated(PICTURE, chance, words=True) if chance.random() < 0.5 else PICTURE
        )
    return folder


def pictures_in_parquet(chance: random.Random, folder: Path) -> Path:
    images = [
        chance.choice(
            [None, {"bytes": PICTURE, "path": None}, {"bytes": None, "path": "a.png"}, {"bytes": b"", "path": ""}]
        )
        for _ in range(4)
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"id": ["a", "b", "b", None], "label": [0, 1, None, 9], "image": pa.array(images, kind)})
    features = {"label": {"names": ["Zoro bus", "sp."], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    about = json.dumps({"info": {"features": features}}).encode()
    about = mutated(about, chance, words=True) if chance.random() < 0.5 else about
    pq.write_table(table.replace_schema_metadata({b"huggingface": about}), folder / "t.parquet")
    return folder / "t.parquet"


def sequences(chance: random.Random, folder: Path) -> Path:
    (folder / "labels.csv").write_bytes(mutated(b"id,sampleid,species\na,S1,Zoro bus\nb,S2,\n", chance, words=True))
    fastq = b"@a|Zoro bus|COI-5P\nACGT\n+\nIIII\n@S2\nAC\n+\nII\n"
    (folder / "s.fastq").write_bytes(mutated(fastq, chance, words=True))
    return folder


KINDS = {made.__name__: made for made in (darwin_core, package, class_folders, pictures_in_parquet, sequences)}


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 2**32))
def test_an_import_counts_every_record_or_says_which_file_is_wrong(scratch: Path, kind: str, seed: int) -> None:
    folder, out = scratch / "source", SpecimenTable.at(scratch / "out" / "s.parquet")
    for place in (folder, scratch / "out"):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    path = KINDS[kind](random.Random(seed), folder)
    refused: list[tuple[str, str]] = []
    started, said = time.process_time(), str(folder)
    try:
        source = table_source(path, {})
        report = collect(source, out, on_reject=lambda *reject: refused.append(reject))
    except ClibdError as error:
        said = str(error)
        assert not list((scratch / "out").iterdir())
    else:
        ids = out.column("specimen_id").to_pylist()
        assert len(ids) == len(set(ids)) == report.num_specimens > 0
        looked = look_at_images(source.root, report.survey.images, decode_all=True)
        assert looked.get("looked_at", 0) == len(report.survey.images)
    assert str(folder) in said or "--map" in said
    assert all(name and reason and "object at 0x" not in reason for name, reason in refused)
    assert time.process_time() - started < 5


def test_every_kind_is_read_whole_where_it_is_not_mutated(scratch: Path) -> None:
    for kind, made in KINDS.items():
        if kind in ("class_folders", "package", "pictures_in_parquet"):
            continue  # these are drawn
        folder = scratch / f"whole {kind}"
        folder.mkdir()
        assert collect(table_source(made(Sound(0), folder), {}), None).num_specimens > 0


def test_a_stray_cell_in_the_last_row_of_a_sheet_costs_no_time(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (["id", "nuc"], *([f"a{number}", "ACGT"] for number in range(5000))):
        book.active.append(row)
    book.active.cell(1_048_576, 2, "ACGT")
    book.active.cell(5002, 16_384, "far")
    book.save(tmp_path / "t.xlsx")
    started = time.process_time()
    report = collect(table_source(tmp_path / "t.xlsx", {}), None)
    assert time.process_time() - started < 5
    assert report.num_specimens == 5000
    assert [name for name, _ in report.rejects] == ["row 5002", "record 5002"]
