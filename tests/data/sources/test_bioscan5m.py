"""BIOSCAN-5M in the layouts it is published in, and the fifth of it that the authors train on."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from workloads.data.sources.bioscan import bioscan5m_source, one_fifth
from workloads.data.sources.collect import collect
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.specimens.schema import SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SourceError

Write = Callable[..., Path]
WriteImages = Callable[..., None]
RecordsOf = Callable[[Source], list[RawRecord]]
ImagesOf = Callable[[Source], list[bytes]]

COLUMNS_5M = (
    "processid sampleid taxon phylum class order family subfamily genus species dna_bin dna_barcode country split chunk"
)
TABLE_5M = "BIOSCAN_5M_Insect_Dataset_metadata.csv"
BARCODE = "AACATTATATTTTATTTTTGGAGCTTGATCAGG" * 20


def insects_5m() -> list[dict[str, str]]:
    splits = [
        "pretrain",
        "pretrain",
        "train",
        "train",
        "val",
        "test",
        "key_unseen",
        "val_unseen",
        "test_unseen",
        "other_heldout",
    ]
    return [
        {
            "processid": f"AACTA{n}-20",
            "sampleid": f"BIOUG{n:05d}-A{n:02d}",
            "order": "Diptera",
            "family": "Chironomidae",
            **({} if split == "pretrain" else {"genus": "Chironomus", "species": f"Chironomus {split}"}),
            "dna_bin": f"BOLD:AAA{n:04d}",
            "dna_barcode": BARCODE,
            "split": split,
            "chunk": {"pretrain": f"{n:02x}", "train": f"{n:x}", "other_heldout": "f"}.get(split, ""),
        }
        for n, split in enumerate(splits)
    ]


@pytest.fixture
def write_5m(write_metadata: Callable[..., Path]) -> Write:
    """Writes the metadata into a folder."""
    return lambda folder, rows: write_metadata(folder / TABLE_5M, COLUMNS_5M, rows)


def image_paths_5m(rows: list[dict[str, str]]) -> list[str]:
    return ["/".join(filter(None, (row["split"], row["chunk"], row["processid"] + ".jpg"))) for row in rows]


def test_5m_brings_its_own_partition_under_our_names(tmp_path: Path, write_5m: Write) -> None:
    source = bioscan5m_source(write_5m(tmp_path, insects_5m()))
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    assert collect(source, table).num_specimens == 10
    assert (table.facts.protocol, table.facts.partition) == ("bioscan_5m", "source")
    assert table.column("split").to_pylist() == [
        *("no_split", "no_split", "train_seen", "train_seen", "val_seen", "test_seen"),
        *("unseen_keys", "val_unseen", "test_unseen", "other_heldout"),
    ]
    assert next(table.batches()).to_pylist()[0] == dict.fromkeys(SPECIMEN_SCHEMA.names) | {
        "specimen_id": "AACTA0-20",
        "image": "AACTA0-20.jpg",
        "barcode": BARCODE,
        "order": "Diptera",
        "family": "Chironomidae",
        "bin": "BOLD:AAA0000",
        "split": "no_split",
    }


def test_5m_images_are_found_in_folders_and_in_the_published_archives(
    tmp_path: Path,
    pictures: list[bytes],
    write_5m: Write,
    write_files: WriteImages,
    write_zip: WriteImages,
    images_of: ImagesOf,
) -> None:
    rows = insects_5m()
    paths = image_paths_5m(rows)
    assert paths[0] == "pretrain/00/AACTA0-20.jpg"
    assert paths[5] == "test/AACTA5-20.jpg"
    table = write_5m(tmp_path / "bioscan5m" / "metadata" / "csv", rows)
    prefix = "bioscan5m/images/cropped_256/"
    write_zip(tmp_path / "BIOSCAN_5M_cropped_256_pretrain.01.zip", prefix, paths[:1], pictures)
    write_zip(tmp_path / "BIOSCAN_5M_cropped_256_pretrain.02.zip", prefix, paths[1:2], pictures[1:])
    write_zip(tmp_path / "BIOSCAN_5M_cropped_256_eval.zip", prefix, paths[4:], pictures[4:])
    write_files(tmp_path / "bioscan5m" / "images" / "cropped_256", paths[2:4], pictures[2:])
    for path in (tmp_path, table):
        assert images_of(bioscan5m_source(path)) == pictures[:10]
    shutil.rmtree(tmp_path / "bioscan5m" / "images")
    refused = [record for record in bioscan5m_source(tmp_path).records if isinstance(record, Refused)]
    assert [record.identifier for record in refused] == ["AACTA2-20", "AACTA3-20"]


def test_5m_loose_split_folders_are_found_and_an_unknown_split_is_one_bad_record(
    tmp_path: Path, pictures: list[bytes], write_5m: Write, write_files: WriteImages
) -> None:
    rows = insects_5m()
    write_files(tmp_path, image_paths_5m(rows), pictures)
    write_5m(tmp_path, [*rows[:5], rows[5] | {"split": "mystery"}])
    report = collect(bioscan5m_source(tmp_path), SpecimenTable.at(tmp_path / "specimens.parquet"))
    assert report.num_specimens == 5
    assert report.rejects == (("AACTA5-20", "line 7: the split 'mystery' does not exist"),)


# The authors' fifth


def drawn_as_the_authors_do(species: list[str | None], num_wanted: int, seed: int) -> list[int]:
    """Their procedure, on lists of row numbers: the unlabelled pool first, then species by first appearance."""
    random.seed(seed)
    ratio = num_wanted / len(species)

    def draw(rows: list[int]) -> list[int]:
        share = len(rows) * ratio
        return random.sample(rows, 1 if share < 1 else round(share))

    kept = draw([row for row, name in enumerate(species) if name is None])
    for name in dict.fromkeys(filter(None, species)):
        kept += draw([row for row, other in enumerate(species) if other == name])
    return sorted(kept)


def insects_by_species(species: list[str | None]) -> list[dict[str, str]]:
    return [
        {
            "processid": f"P{n}",
            "order": "Diptera",
            "species": name or "not_classified",
            "dna_barcode": BARCODE,
            "split": "train" if name else "pretrain",
        }
        for n, name in enumerate(species)
    ]


@pytest.mark.parametrize(("num_wanted", "seed"), [(800, 42), (87, 42), (800, 7), (4000, 42)])
def test_the_fifth_is_the_one_that_the_authors_procedure_draws(
    tmp_path: Path, num_wanted: int, seed: int, write_5m: Write, records_of: RecordsOf
) -> None:
    draws = random.Random(0)
    names = [f"Aus {chr(97 + n)}us" for n in range(25)]
    species = [None if draws.random() < 0.8 else names[int(draws.paretovariate(0.7)) % 25] for _ in range(4000)]
    rows = insects_by_species(species)
    queries = [
        {"processid": f"Q{n}", "order": "Diptera", "species": "Aus aus", "dna_barcode": BARCODE, "split": split}
        for n, split in enumerate(("val", "test", "key_unseen", "other_heldout"))
    ]
    # Queries stand in between, and must neither be drawn from nor be counted.
    source = bioscan5m_source(write_5m(tmp_path, [*rows[:100], *queries[:2], *rows[100:], *queries[2:]]))
    thinned = one_fifth(source, num_wanted=num_wanted, seed=seed)
    kept = [record["specimen_id"] for record in records_of(thinned)]
    expected = drawn_as_the_authors_do(species, num_wanted, seed)
    assert [name for name in kept if name[0] == "P"] == [f"P{row}" for row in expected]
    assert [name for name in kept if name[0] == "Q"] == ["Q0", "Q1", "Q2", "Q3"]
    assert f"{len(expected):,} of 4,000 training records were drawn (seed {seed})" in thinned.notes
    kept_species = Counter(species[row] for row in expected)
    assert set(kept_species) == set(species)  # at least one of each


def test_a_fifth_of_too_few_records_or_of_a_source_that_is_read_once_is_refused(
    tmp_path: Path, write_5m: Write
) -> None:
    source = bioscan5m_source(write_5m(tmp_path, insects_5m()))
    with pytest.raises(SourceError, match=r"4 .* 1,080,142 "):
        list(one_fifth(source).records)
    with pytest.raises(SourceError, match="read twice"):
        one_fifth(Source(name="once", records=iter([]), has_splits=True))
