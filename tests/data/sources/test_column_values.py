"""Columns are told apart by what they hold where their names leave it open; other genes are no barcodes."""

from pathlib import Path

import pytest

from workloads.data.sources.columns import choose_columns, passed_over
from workloads.data.sources.markers import fitness
from workloads.data.sources.reading import ColumnReading
from workloads.data.sources.tables import table_source

BASES = "ACGT" * 30
BIN_TABLE = {"id": "a", "bin": "", "uri": "https://example.org/a", "order": "Diptera", "barcode": BASES}


def chosen(*rows: dict[str, str]) -> dict[str, str]:
    return choose_columns(list(rows[0]), {}, rows)


def test_the_process_id_comes_before_the_number_inside_bold() -> None:
    assert choose_columns(["specimenid", "sampleid", "processid"], {})["specimen_id"] == "processid"
    assert choose_columns(["specimenid", "sampleid"], {})["specimen_id"] == "sampleid"
    assert choose_columns(["specimenid"], {})["specimen_id"] == "specimenid"
    assert choose_columns(["processid", "specimen_id"], {})["specimen_id"] == "specimen_id"


def test_a_web_address_is_no_bin_and_a_bin_may_be_called_uri() -> None:
    assert "bin" not in chosen({name: value for name, value in BIN_TABLE.items() if name != "bin"})
    assert chosen({**BIN_TABLE, "uri": "BOLD:AAA0001"})["bin"] == "uri"


@pytest.mark.parametrize("name", ["COI", "coi_5p", "CO1", "cox1", "nuc", "DNA", "sequence", "my column"])
def test_a_barcode_may_stand_in_a_column_of_any_name_that_holds_bases(name: str) -> None:
    assert chosen({"id": "a", name: BASES, "order": "Diptera"})["barcode"] == name


@pytest.mark.parametrize(
    ("name", "values", "is_taken"),
    [
        ("set", ["12", "13", "14"], False),
        ("set", ["TR1", "TR2", "TE1"], False),
        ("partition", ["test", "meadow", "wood"], False),
        ("set", ["train", "Test set", "", "dev"], True),
        ("subset", ["val_seen", "train_seen", "no_split"], True),
        ("split", ["12", "13", "14"], True),
        ("set", [], True),
    ],
)
def test_a_set_of_traps_is_no_split(name: str, values: list[str], is_taken: bool) -> None:
    rows = [{"id": f"s{number}", name: value, "barcode": BASES} for number, value in enumerate(values)]
    assert ("split" in choose_columns(["id", name, "barcode"], {}, rows)) == is_taken


def test_a_column_of_lengths_or_accessions_is_no_barcode() -> None:
    row = {"id": "a", "COI": "658", "nuc_basecount": "658", "nuc": BASES, "seq": "MN123456"}
    assert chosen(row)["barcode"] == "nuc"
    assert "barcode" not in chosen({"id": "a", "COI": "658", "seq": "MN123456"})


def test_of_two_unknown_columns_of_bases_that_of_coi_is_taken_and_the_other_said() -> None:
    row = {"id": "a", "16S (Folmer)": BASES, "COI (Folmer)": BASES}
    columns = chosen(row)
    assert columns["barcode"] == "COI (Folmer)"
    assert list(passed_over(list(row), columns, {}, [row])) == [
        "column '16S (Folmer)' holds sequences and is not read; --map 'barcode=16S (Folmer)' takes it"
    ]
    neither = {"id": "a", "x": BASES, "y": BASES}
    assert "barcode" not in chosen(neither)
    assert len(list(passed_over(list(neither), chosen(neither), {}, [neither]))) == 2


def test_a_column_that_names_images_is_said_unless_others_are_read() -> None:
    row = {"id": "a", "vorlage": "a.JPG", "order": "Diptera"}
    [sentence] = passed_over(list(row), chosen(row), {}, [row])
    assert sentence == "column 'vorlage' names images and is not read; --map image=vorlage takes it"
    assert not list(passed_over([*row, "image"], {**chosen(row), "image": "image"}, {}, [row]))
    assert not list(passed_over(list(row), chosen(row), {"image": ""}, [row]))


def test_a_column_of_species_under_another_name_is_spoken_of_while_no_rank_is_read() -> None:
    row = {"id": "a", "Taxon name": "Osmia rufa (Linnaeus, 1758)", "photo": "1.jpg"}
    [sentence] = passed_over(list(row), chosen(row), {}, [row])
    assert (
        sentence == "column 'Taxon name' holds names of two words and is not read; --map 'species=Taxon name' takes it"
    )
    for known in ("species", "genus", "scientificName"):
        named = {**row, known: "Osmia rufa"}
        assert not list(passed_over(list(named), chosen(named), {}, [named]))


def test_a_table_says_what_each_of_its_columns_was_taken_for(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(f"processid\tnotes\tnuc\na\tNA\t{BASES}\nb\tred\t{BASES}\nc\tred\tAC\n")
    reading = table_source(tmp_path / "t.tsv", {}).reading
    assert reading is not None
    assert reading.columns == (
        ColumnReading("processid", "specimen_id", ("a", "b", "c")),
        ColumnReading("notes", None, ("red",)),
        ColumnReading("nuc", "barcode", (f"{BASES[:40]}...", "AC")),
    )


MARKERS = {
    2: ("COI-5P", "COI_5P", "COI 5P", "Cytochrome oxidase subunit 1 (COI-5P)", "COI-5P,COI-3P"),
    1: (
        None,
        "",
        "NA",
        "COI",
        "coi",
        "CO1",
        "COX1",
        "COXI",
        "CO-I",
        "mtCOI",
        "mt-CO1",
        "mitochondrial COI",
        "COI barcode",
    ),
    0: (
        "COI-3P",
        "COII",
        "COX2",
        "CO2",
        "COXIII",
        "COI-LIKE",
        "COI-5P pseudogene",
        "COI-NUMT",
        "COI-5PNMT1",
        "CYTB",
        "16S",
    ),
}
WORDS = {1: "cytochrome c oxidase subunit I", 0: "cytochrome c oxidase subunit II"}


@pytest.mark.parametrize(("marker", "expected"), [(name, fit) for fit, names in MARKERS.items() for name in names])
def test_markers_are_told_from_other_genes_and_copies(marker: str | None, expected: int) -> None:
    assert fitness(marker) == expected


@pytest.mark.parametrize(("expected", "words"), WORDS.items())
def test_a_gene_in_words_is_understood(expected: int, words: str) -> None:
    assert fitness(words) == expected
