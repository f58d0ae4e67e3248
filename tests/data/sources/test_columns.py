"""Names of columns as people write them."""

from collections.abc import Mapping

import pytest

from workloads.data.sources.columns import COLUMN_NAMES, choose_columns, parse_map, record_of
from workloads.data.sources.source import RawRecord
from workloads.data.specimens.names import named
from workloads.errors import UsageError

OURS = "specimen_id image image_features dna_features barcode order family genus species bin"
BOLD = "processid sampleid bin_uri phylum_name order_name family_name genus_name species_name nucleotides"
BCDM = "processid sampleid bin_uri kingdom phylum class order family genus species identification nuc"
BIOSCAN_1M = "sampleid processid uri name phylum class order family genus species nucraw image_file"
BIOSCAN_5M = "processid sampleid chunk order family genus species dna_bin dna_barcode"
DARWIN_CORE = "id dwc:occurrenceID dwc:catalogNumber dwc:order dwc:family dwc:genus dwc:scientificName"


def chosen(header: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Field and the name of its column."""
    return choose_columns(header.split(), given or {})


def record(header: list[str], *values: str | None) -> RawRecord:
    row = dict(zip(header, values, strict=True))
    return record_of({field: row[name] for field, name in choose_columns(header, {}).items()}, "line 2")


RANK_COLUMNS = {rank: rank for rank in ("order", "family", "genus", "species")}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (OURS, {name: name for name in OURS.split()}),
        (
            BOLD,
            {"specimen_id": "processid", "bin": "bin_uri", "barcode": "nucleotides"}
            | {rank: f"{rank}_name" for rank in RANK_COLUMNS},
        ),
        (BCDM, {"specimen_id": "processid", "bin": "bin_uri", "barcode": "nuc", **RANK_COLUMNS}),
        (
            BIOSCAN_1M,
            {"specimen_id": "processid", "bin": "uri", "barcode": "nucraw", "image": "image_file", **RANK_COLUMNS},
        ),
        (BIOSCAN_5M, {"specimen_id": "processid", "bin": "dna_bin", "barcode": "dna_barcode", **RANK_COLUMNS}),
        (
            DARWIN_CORE,
            {"specimen_id": "dwc:occurrenceID", "scientific_name": "dwc:scientificName"}
            | {rank: f"dwc:{rank}" for rank in ("order", "family", "genus")},
        ),
    ],
    ids=["ours", "BOLD", "BCDM", "BIOSCAN-1M", "BIOSCAN-5M", "Darwin Core"],
)
def test_the_columns_of_every_convention_are_found(header: str, expected: dict[str, str]) -> None:
    assert chosen(header) == expected


@pytest.mark.parametrize("name", ["processid", "ProcessID", "process_id", "Process ID", "process-id", "bold:PROCESSID"])
def test_capitals_blanks_marks_and_prefixes_do_not_matter(name: str) -> None:
    assert choose_columns(["x", name], {}) == {"specimen_id": name}


def test_a_name_stands_for_the_order_in_bioscan_only() -> None:
    assert chosen("id name nucraw")["order"] == "name"
    assert "order" not in chosen("id name barcode")


def test_two_columns_that_could_be_meant_are_an_error_unless_one_is_named_exactly() -> None:
    with pytest.raises(UsageError, match=r"'Genus', 'GENUS' .*--map genus=COLUMN"):
        choose_columns(["id", "Genus", "GENUS"], {})
    assert choose_columns(["id", "Genus", "genus"], {})["genus"] == "genus"
    assert choose_columns(["id", "Genus", "GENUS"], {"genus": "Genus"})["genus"] == "Genus"


def test_given_columns_win_over_guessed_ones() -> None:
    assert chosen("id voucher sequence species", {"specimen_id": "Voucher", "barcode": ""}) == {
        "specimen_id": "voucher",
        "species": "species",
    }


def test_a_given_column_that_does_not_exist_is_named_beside_those_that_do() -> None:
    with pytest.raises(UsageError, match=r"species=taxon: .*'id', 'name'"):
        choose_columns(["id", "name"], {"species": "taxon"})
    with pytest.raises(UsageError, match="and 60 more"):
        choose_columns([f"c{number}" for number in range(100)], {"species": "taxon"})


def test_a_field_that_is_none_of_ours_is_named_beside_those_that_are() -> None:
    for refused in (lambda: choose_columns(["id"], {"tribe": "id"}), lambda: parse_map(["tribe=id"])):
        with pytest.raises(UsageError, match=f"'tribe' .*: {', '.join(COLUMN_NAMES)}"):
            refused()


def test_pairs_of_the_command_line_become_a_mapping() -> None:
    assert parse_map(["specimen_id=Voucher No.", " Species = a=b ", "bin="]) == {
        "specimen_id": "Voucher No.",
        "species": "a=b",
        "bin": "",
    }


@pytest.mark.parametrize(("pairs", "reason"), [(["species"], "FIELD=COLUMN"), (["genus=a", "genus=b"], "given twice")])
def test_pairs_that_are_none_are_an_error(pairs: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_map(pairs)


@pytest.mark.parametrize("word", ["", " ", "NA", "nan", "None", "null", "-", "not_classified", "n/a", "Unknown"])
def test_words_for_a_missing_value_are_no_barcode_image_or_id(word: str) -> None:
    expected = {"specimen_id": None, "barcode": None, "image": None, "order": "Diptera", "species": None}
    given = record(["id", "barcode", "image", "order"], word, word, word, "Diptera")
    assert given == {**expected, "where": "line 2"}


def species(**terms: str | None) -> str | None:
    return named(record(list(terms), *terms.values()))[0]["species"]


@pytest.mark.parametrize(
    ("scientific", "rank", "expected"),
    [
        ("Zoro bus", "species", "Zoro bus"),
        ("Zoro bus (Linnaeus, 1758)", "SPECIES", "Zoro bus"),
        ("Zoro (Subzoro) bus-alba Meigen", "species", "Zoro bus-alba"),
        ("Zoro bus minor L.", "subspecies", "Zoro bus"),
        ("Zoro GS-spC", "species", None),
        ("Zoro Meigen, 1803", "genus", None),
        ("Zoro bus", "family", None),
        (None, "species", None),
        ("Zoro bus", None, "Zoro bus"),
        ("Zoro bus, 1850", None, "Zoro bus"),
        ("Zoro Meigen, 1803", None, None),
        ("Zoro Linnaea", None, None),
        ("Zoro de Geer", None, None),
        ("Zoro sp. 1ABC", None, None),
        ("Zoro sp", None, None),
        ("Zoro cf. bus", None, None),
        ("Zoro", None, None),
        ("zoro bus", None, "Zoro bus"),
        ("Zoro b", None, None),
    ],
)
def test_a_scientific_name_gives_a_binomial_where_it_is_one(
    scientific: str | None, rank: str | None, expected: str | None
) -> None:
    assert species(id="a", scientificName=scientific, taxonRank=rank) == expected


@pytest.mark.parametrize(
    ("genus", "epithet", "expected"),
    [
        ("Zoro", "bus", "Zoro bus"),
        ("Zoro", "sp.", "Alter ego"),
        ("Zoro", "", "Alter ego"),
        ("NA", "bus", "Alter ego"),
        (None, None, "Alter ego"),
    ],
)
def test_genus_and_epithet_make_a_binomial_before_the_scientific_name_does(
    genus: str | None, epithet: str | None, expected: str
) -> None:
    assert species(genus=genus, specificEpithet=epithet, scientificName="Alter ego") == expected


@pytest.mark.parametrize("rank", ["order", "family", "genus"])
def test_a_scientific_name_above_the_species_stands_at_its_rank(rank: str) -> None:
    found = named(record(["id", "scientificName", "taxonRank"], "a", "Zoro Meigen, 1803", rank))[0]
    assert found == {**dict.fromkeys(("order", "family", "genus", "species")), rank: "Zoro"}


def test_a_column_of_species_comes_before_the_scientific_name() -> None:
    assert species(species="Zoro bus", scientificName="Alter ego") == "Zoro bus"
    assert "scientific_name" not in choose_columns(["species", "scientificName"], {"species": ""})


@pytest.mark.parametrize(
    ("value", "expected"),
    [("ACGT-acgt", "ACGT-acgt"), ("https://example.org/1", None), ("AB123456", None), (None, None)],
)
def test_associated_sequences_are_barcodes_unless_they_are_links(value: str | None, expected: str | None) -> None:
    given = record(["id", "associatedSequences", "order"], "a", value, "Diptera")
    assert given == {"specimen_id": "a", "barcode": expected, "order": "Diptera", "species": None, "where": "line 2"}
