"""Darwin Core archives, as folders and zip files, and what is wrong with some."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from workloads.data.sources.collect import ImportReport, collect
from workloads.data.sources.source import Refused
from workloads.data.sources.tables import table_source
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SourceError

DWC = "http://rs.tdwg.org/dwc/terms/"
BARCODE = "AACATTATATTTTATTTTTGGAGCTTGATCAGG" * 20


def part(tag: str, kind: str, name: str, terms: list[str], more: str = "") -> str:
    fields = "".join(f'<field index="{n}" term="{term}"/>' for n, term in enumerate(terms, start=1) if term)
    identifier = "id" if tag == "core" else "coreid"
    return (
        f'<{tag} fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1" '
        f'rowType="{kind}"><files><location>{name}</location></files><{identifier} index="0"/>{fields}{more}</{tag}>'
    )


CORE = part(
    "core",
    f"{DWC}Occurrence",
    "occurrence.txt",
    [f"{DWC}catalogNumber", f"{DWC}family", f"{DWC}genus", f"{DWC}specificEpithet"],
    f'<field term="{DWC}order" default="Diptera"/>',
)
DNA = part(
    "extension",
    "http://rs.gbif.org/terms/1.0/DNADerivedData",
    "dna.txt",
    ["http://rs.gbif.org/terms/target_gene", "", "http://rs.gbif.org/terms/dna_sequence"],
)
MEDIA = part(
    "extension", "http://rs.gbif.org/terms/1.0/Multimedia", "media.txt", ["http://purl.org/dc/terms/identifier"]
)
FILES = {
    "occurrence.txt": "id\tcat\tf\tg\te\n1\tC1\tCulicidae\tAedes\tvexans\n2\tC2\tCulicidae\tCulex\tpipiens\n",
    "dna.txt": f"id\tgene\tx\tseq\n2\t28S\tx\tACGT\n2\tCOI\tx\t{BARCODE}\n1\tCOI\tx\t{BARCODE}\n",
    "media.txt": "id\turl\n1\thttps://a.example/img/one.jpg?size=2\n2\thttps://a.example/img/two.jpg\n",
}


def lay(folder: Path, meta: str = "", zipped: bool = False, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    meta = meta or f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{CORE}{DNA}{MEDIA}</archive>'
    contents = {"meta.xml": meta, **FILES, **{name.replace("_", "."): text for name, text in files.items()}}
    if zipped:
        with zipfile.ZipFile(folder / "0001.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in contents.items():
                archive.writestr(name, text)
        return folder / "0001.zip"
    for name, text in contents.items():
        (folder / name).write_text(text)
    return folder


def imported(path: Path, to: Path, images: Path | None = None) -> tuple[list[dict[str, Any]], ImportReport]:
    report = collect(table_source(path, {}, images), table := SpecimenTable.at(to))
    return [row for batch in table.batches() for row in batch.to_pylist()], report


@pytest.mark.parametrize("zipped", [False, True])
def test_extensions_are_joined_by_the_cores_id(zipped: bool, tmp_path: Path) -> None:
    source = lay(tmp_path / "a", zipped=zipped)
    (tmp_path / "a" / "one.jpg").write_bytes(b"")
    rows, report = imported(source, tmp_path / "s.parquet")
    assert [(row["specimen_id"], row["order"], row["species"], row["image"]) for row in rows] == [
        ("C1", "Diptera", "Aedes vexans", "one.jpg"),
        ("C2", "Diptera", "Culex pipiens", None),
    ]
    assert [row["barcode"] for row in rows] == [BARCODE, BARCODE]
    assert report.findings.counts["further sequences of a specimen in the archive, left out"] == 1
    assert any("a Darwin Core archive of occurrence.txt, dna.txt, media.txt" in note for note in report.notes)
    assert any(note.startswith("1 of 2 specimens have addresses of images, and no file") for note in report.notes)


def test_a_byte_that_is_not_utf_8_and_a_short_row_cost_little(tmp_path: Path) -> None:
    folder = lay(tmp_path / "a")
    text = "id\tcat\tf\tg\te\n1\tC1\tCulicidae\tAedes\tvexans\n2\tC2\n3\tC3\tCulicid\u00e6\tAedes\tvexans\n"
    (folder / "occurrence.txt").write_bytes(text.encode("latin-1"))
    (folder / "dna.txt").write_text(f"id\tgene\tx\tseq\n1\tCOI\tx\t{BARCODE}\n3\tCOI\tx\t{BARCODE}\n9\n")
    rows, report = imported(folder, tmp_path / "s.parquet")
    assert [row["specimen_id"] for row in rows] == ["C1", "C3"]
    assert [name for name, _ in report.rejects] == ["line 3"]
    assert any("rows of dna.txt cannot be read" in kind for kind in report.findings.counts)
    assert any("values of 'family' in occurrence.txt are not UTF-8" in kind for kind in report.findings.counts)


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
OPEN, CLOSE = '<archive xmlns="http://rs.tdwg.org/dwc/text/">', "</archive>"


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ("no xml", "not readable as XML"),
        (BOMB + OPEN + "&b;" + CLOSE, "not readable as XML"),
        ("<archive/>", "it names no core"),
        (OPEN + CORE.replace("Occurrence", "Taxon") + CLOSE, "is Taxon"),
        (OPEN + CORE.replace("occurrence.txt", "../x") + CLOSE, "not there"),
        (OPEN + CORE.replace('index="', 'index="-') + CLOSE, "no number"),
        (OPEN + CORE.replace('index="', 'index="9') + CLOSE, "5 columns, and"),
        ("<archive>" + " " * 2**20 + CLOSE, "longer than 1 MiB"),
    ],
    ids=lambda value: value[-20:],
)
def test_what_is_no_archive_is_an_error_that_names_it(meta: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        table_source(lay(tmp_path / "a", meta), {})
    assert str(tmp_path) in str(caught.value)


def test_the_archive_of_the_cases_gives_its_barcodes(tmp_path: Path) -> None:
    case = Path(__file__).parents[4] / "shared" / "cases" / "07-darwin-core-archive"
    if not case.is_dir():
        pytest.skip("the cases are not beside this checkout")
    for source in (case / "0001-dwca.zip", case / "archive"):
        records = list(table_source(source, {}).records)
        assert [isinstance(record, Refused) for record in records] == [False] * 8
        assert {len(record["barcode"]) for record in records if not isinstance(record, Refused)} == {658}
