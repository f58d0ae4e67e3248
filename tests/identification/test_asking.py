import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workloads.data.specimens.coi_consensus import CONSENSUS
from workloads.data.specimens.coi_region import reverse_complement
from workloads.errors import MissingPathError
from workloads.identification.asking import Files, num_queries, queries_of

BARCODES = [CONSENSUS[name] for name in sorted(CONSENSUS)[:4]]


def picture(side: int = 64) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "JPEG")
    return buffer.getvalue()


def fasta(path: Path, *barcodes: str) -> str:
    text = "".join(f">s{number}\n{barcode}\n" for number, barcode in enumerate(barcodes))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def test_barcodes_are_cleaned_turned_and_flagged_by_the_rule_of_the_import(tmp_path: Path) -> None:
    turned = reverse_complement(BARCODES[0])
    poor = [turned, BARCODES[1][:20], "ACGT" * 150, "XX-not-a-barcode", BARCODES[2], "A" * 100_001]
    found = list(queries_of([fasta(tmp_path / "some.fasta.gz", *poor)]))
    assert [one.id for one in found] == ["s0", "s1", "s2", "s3", "s4", "s5"]
    assert found[0].barcode == BARCODES[0]
    assert "barcode turned" in found[0].flags
    assert found[1].flags == ("poor barcode: short",)
    assert "poor barcode: unlike COI" in found[2].flags
    assert found[3].barcode is None
    assert "nucleotide" in str(found[3].problem)
    assert found[4].flags == ()
    assert found[4].where.endswith("some.fasta.gz, line 9")
    assert "longer than any barcode" in str(found[5].problem)


def test_pictures_come_alone_from_folders_from_patterns_and_from_archives(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("in/a.jpg", "in/b.jpg", "in/deep/c.jpg"):
        (tmp_path / name).write_bytes(picture())
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "in/a.jpg", "x/a.jpg")
    folder = str(tmp_path / "in")
    asked = [f"{folder}/a.jpg", folder, f"{folder}/*.jpg", str(tmp_path / "all.zip")]
    found = list(queries_of(asked))
    assert [one.id for one in found] == ["a.jpg", "a.jpg", "b.jpg", "a.jpg", "b.jpg", "x/a.jpg"]
    assert {one.image for one in found} == {picture()}
    assert found[1].where == f"{folder}/a.jpg"
    assert num_queries(Files(names=asked)) == 6
    assert [one.id for one in queries_of([folder], recursive=True)] == ["a.jpg", "b.jpg", "deep/c.jpg"]


def test_a_table_gives_images_and_barcodes_and_one_that_is_lost_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(picture())
    rows = [f"a,a.jpg,{BARCODES[0]}", f"b,lost.jpg,{BARCODES[1]}", "c,lost.jpg,", "a,,ACGTNNACGTAC"]
    (tmp_path / "t.csv").write_text("voucher,picture,seq\n" + "\n".join(rows) + "\n")
    columns = {"specimen_id": "voucher", "image": "picture", "barcode": "seq"}
    a, b, c, again = queries_of([str(tmp_path / "t.csv")], columns)
    assert a.image == picture()
    assert a.barcode == BARCODES[0]
    assert b.image is None
    assert b.barcode == BARCODES[1]
    assert "lost.jpg" in b.flags[0]
    assert "lost.jpg" in str(c.problem)
    assert again.id == "a"
    assert again.barcode == "ACGTNNACGTAC"


def test_files_that_are_empty_or_none_have_no_queries_or_their_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.fasta").write_bytes(b"")
    (tmp_path / "noise.fasta").write_bytes(b"no fasta")
    assert list(queries_of([str(tmp_path / "empty.fasta")])) == []
    one, two = queries_of([str(tmp_path / "noise.fasta"), fasta(tmp_path / "ok.fa", BARCODES[0])])
    assert one.id == "noise.fasta"
    assert "not FASTA" in str(one.problem)
    assert two.barcode == BARCODES[0]
    with pytest.raises(MissingPathError, match=r"absent\.fa"):
        list(queries_of([str(tmp_path / "absent.fa")]))
    (tmp_path / "f" / "g").mkdir(parents=True)
    (tmp_path / "f" / "g" / "a.jpg").write_bytes(picture())
    with pytest.raises(MissingPathError, match="--recursive"):
        list(queries_of([str(tmp_path / "f")]))


@pytest.mark.parametrize("packed", [False, True])
def test_stdin_is_known_by_its_first_bytes(packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path(fasta(tmp_path / "x.fa", BARCODES[0])).read_bytes()
    stream = io.TextIOWrapper(io.BytesIO(gzip.compress(text) if packed else text))
    monkeypatch.setattr("sys.stdin", stream)
    assert [one.barcode for one in queries_of(["-"])] == [BARCODES[0]]
    table = f"id,barcode\nb,{BARCODES[1]}\n".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(table)))
    assert [(one.id, one.barcode) for one in queries_of(["-"])] == [("b", BARCODES[1])]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(picture())))
    assert [one.image for one in queries_of(["-"])] == [picture()]


def test_synthetic_insects_are_drawn() -> None:
    found = next(queries_of(["synthetic"]))
    assert isinstance(found.image, bytes)
    assert found.barcode
