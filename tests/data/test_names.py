"""The one rule for names: what is no species is null at that rank, and what it says of higher ranks is kept."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workloads.data.specimens import names
from workloads.data.specimens.names import as_given, named
from workloads.spec import RANKS

A_SPECIES = [  # (genus, species as written, the binomial, the kind of change)
    (None, "Apis mellifera", "Apis mellifera", None),
    (None, "Xestia c-nigrum", "Xestia c-nigrum", None),
    (None, "Coccinella 7-punctata", "Coccinella 7-punctata", None),
    (None, "Mülleria zoë", "Mülleria zoë", None),
    (None, "Apis mellifera Linnaeus, 1758", "Apis mellifera", names.AUTHORS),
    (None, "Apis mellifera (Linnaeus, 1758)", "Apis mellifera", names.AUTHORS),
    (None, "Apis mellifera L.", "Apis mellifera", names.AUTHORS),
    (None, "Aedes albopictus (Skuse)", "Aedes albopictus", names.AUTHORS),
    (None, "Musca domestica LINNAEUS", "Musca domestica", names.AUTHORS),
    (None, "APIS MELLIFERA", "Apis mellifera", names.CAPITALS),
    (None, "MUSCA DOMESTICA LINNAEUS 1758", "Musca domestica", names.CAPITALS),
    (None, "apis mellifera", "Apis mellifera", names.CAPITALS),
    (None, "Apis Mellifera", "Apis mellifera", names.CAPITALS),
    (None, "Apis mellifera ligustica", "Apis mellifera", names.SUBSPECIES),
    (None, "Apis mellifera ligustica Spinola, 1806", "Apis mellifera", names.SUBSPECIES),
    (None, "Apis mellifera subsp. ligustica", "Apis mellifera", names.SUBSPECIES),
    (None, "Vespula vulgaris ssp. vulgaris", "Vespula vulgaris", names.SUBSPECIES),
    (None, "Apis mellifera var. ligustica", "Apis mellifera", names.SUBSPECIES),
    (None, "Apis (Apis) mellifera", "Apis mellifera", names.SUBGENUS),
    (None, "Drosophila (Sophophora) melanogaster Meigen, 1830", "Drosophila melanogaster", names.SUBGENUS),
    (None, "Apis mellifera s.l.", "Apis mellifera", None),
    (None, "Apis mellifera sensu lato", "Apis mellifera", None),
    (None, "Apis_mellifera", "Apis mellifera", names.MARKS),
    (None, '"Apis mellifera"', "Apis mellifera", names.MARKS),
    (None, "Mentha × piperita", "Mentha × piperita", None),
    (None, "Mentha x piperita L.", "Mentha × piperita", names.AUTHORS),
    ("Apis", "mellifera", "Apis mellifera", names.JOINED),
    ("Apis", "Mellifera", "Apis mellifera", names.JOINED),
    ("APIS", "MELLIFERA", "Apis mellifera", names.JOINED),
    ("Bombus", "alpinus", "Bombus alpinus", names.JOINED),
    ("Erebia", "alpinus", "Erebia alpinus", names.JOINED),
    ("Apis", "mellifera ligustica", "Apis mellifera", names.JOINED),
    ("Apis", "mellifera (Linnaeus, 1758)", "Apis mellifera", names.JOINED),
    ("Apis", "A. mellifera", "Apis mellifera", names.JOINED),
    ("Mentha", "x piperita", "Mentha × piperita", names.JOINED),
]

NO_SPECIES = [  # (genus, species as written, rank and name that it leaves, the kind)
    (None, "Apis sp.", ("genus", "Apis"), names.OPEN),
    (None, "Apis sp", ("genus", "Apis"), names.OPEN),
    (None, "APIS SP.", ("genus", "Apis"), names.OPEN),
    (None, "Apis spp.", ("genus", "Apis"), names.OPEN),
    (None, "Apis ssp.", ("genus", "Apis"), names.OPEN),
    (None, "Apis sp1", ("genus", "Apis"), names.OPEN),
    (None, "Apis sp. 1ABC", ("genus", "Apis"), names.OPEN),
    (None, "Siphlonurus sp.XZ1", ("genus", "Siphlonurus"), names.OPEN),
    (None, "Apis sp. nov.", ("genus", "Apis"), names.OPEN),
    (None, "Apis n.sp.", ("genus", "Apis"), names.OPEN),
    (None, "Apis cf. mellifera", ("genus", "Apis"), names.OPEN),
    (None, "Apis cfr. mellifera", ("genus", "Apis"), names.OPEN),
    (None, "Apis aff. mellifera", ("genus", "Apis"), names.OPEN),
    (None, "Apis nr mellifera", ("genus", "Apis"), names.OPEN),
    (None, "Apis prope mellifera", ("genus", "Apis"), names.OPEN),
    (None, "Apis ?mellifera", ("genus", "Apis"), names.OPEN),
    (None, "Apis mellifera?", ("genus", "Apis"), names.OPEN),
    (None, "Apis mellifera/cerana", ("genus", "Apis"), names.OPEN),
    (None, "Agromyza isolata or albitarsis", ("genus", "Agromyza"), names.OPEN),
    (None, "Apis indet.", ("genus", "Apis"), names.OPEN),
    (None, "Apis gen. sp.", ("genus", "Apis"), names.OPEN),
    (None, "Gen. sp.", None, names.OPEN),
    (None, "Apis mellifera group", ("genus", "Apis"), names.OPEN),
    (None, "Apis mellifera agg.", ("genus", "Apis"), names.OPEN),
    (None, "Chironomus plumosus-type", ("genus", "Chironomus"), names.OPEN),
    (None, "Rhamphomyia pusio grp. sp. BJS10", ("genus", "Rhamphomyia"), names.OPEN),
    (None, "Apis larva", ("genus", "Apis"), names.OPEN),
    (None, "Apis species 3", ("genus", "Apis"), names.OPEN),
    ("Apis", "sp.", ("genus", "Apis"), names.OPEN),
    ("Apis", "cf. mellifera", ("genus", "Apis"), names.OPEN),
    (None, "Culicidae sp.", ("family", "Culicidae"), names.OPEN),
    (None, "Diptera indet.", ("order", "Diptera"), names.OPEN),
    (None, "Dinotrema jft01", ("genus", "Dinotrema"), names.INTERIM),
    (None, "Blacus Malaise9408", ("genus", "Blacus"), names.INTERIM),
    (None, "Phytomyptera Janzen7239", ("genus", "Phytomyptera"), names.INTERIM),
    (None, "opiMalaise01 Malaise2240", None, names.INTERIM),
    (None, "Boletina GS-spC", ("genus", "Boletina"), names.INTERIM),
    (None, "Myrmica AF-smi", ("genus", "Myrmica"), names.INTERIM),
    (None, "Apis 12345", ("genus", "Apis"), names.INTERIM),
    (None, "Chionodes continuella PS1", ("genus", "Chionodes"), names.INTERIM),
    (None, "BOLD:AAG3251", None, names.BIN),
    (None, "Apis BOLD:AAG3251", ("genus", "Apis"), names.BIN),
    (None, "Megaselia sp. BOLD:ACA1234", ("genus", "Megaselia"), names.BIN),
    (None, "Leuctra sp. BOLDAAB8082", ("genus", "Leuctra"), names.BIN),
    (None, "unidentified", None, names.NOBODY),
    (None, "Unidentified insect", None, names.NOBODY),
    (None, "uncultured Apis sp.", None, names.NOBODY),
    (None, "Insecta environmental sample", None, names.NOBODY),
    (None, "Apis mellifera × cerana", ("genus", "Apis"), names.HYBRID),
    (None, "Apis mellifera x Apis cerana", ("genus", "Apis"), names.HYBRID),
    (None, "Apis", ("genus", "Apis"), names.HIGHER),
    ("Apis", "Apis", ("genus", "Apis"), names.HIGHER),
    (None, "Apis Linnaeus, 1758", ("genus", "Apis"), names.HIGHER),
    (None, "Apis Linnaeus", ("genus", "Apis"), names.HIGHER),
    (None, "Zoro de Geer", ("genus", "Zoro"), names.HIGHER),
    (None, "Stigmella Yukon", ("genus", "Stigmella"), names.HIGHER),
    (None, "Culicidae", ("family", "Culicidae"), names.HIGHER),
    (None, "mellifera", None, names.LONE_EPITHET),
    (None, "A. mellifera", None, names.ABBREVIATED),
    ("Bombus", "A. mellifera", ("genus", "Bombus"), names.ABBREVIATED),
    (None, "Apis\x07 mellifera", None, names.UNREADABLE),
    (None, "Apis mellifera" * 20, None, names.UNREADABLE),
    (None, "Apis mellifera, Apis cerana", ("genus", "Apis"), names.OPEN),
    (None, "Apis mellifera; Apis cerana", ("genus", "Apis"), names.OPEN),
    (None, "Apis mellifera and cerana", ("genus", "Apis"), names.OPEN),
    (None, "Apis mellifera & cerana", ("genus", "Apis"), names.OPEN),
    (None, "Apis hybrid", ("genus", "Apis"), names.OPEN),
    (None, "Apis morphosp. A", ("genus", "Apis"), names.OPEN),
    (None, "not determined", None, names.NOBODY),
    (None, "to be identified", None, names.NOBODY),
    (None, "TBD", None, names.NOBODY),
    (None, "OTU_17", None, names.NOBODY),
    (None, "TRUE", None, names.NOBODY),
    (None, "Insecta sp.", None, names.OPEN),
]


@pytest.mark.parametrize(("genus", "written", "binomial", "kind"), A_SPECIES)
def test_a_species_is_its_binomial_however_it_is_written(
    genus: str | None, written: str, binomial: str, kind: str | None
) -> None:
    lineage, kinds = named({"genus": genus, "species": written})
    assert (lineage["genus"], lineage["species"]) == (binomial.split()[0], binomial)
    assert kind is None or kind in kinds
    assert not set(kinds) & names.NULLED


@pytest.mark.parametrize(("genus", "written", "kept", "kind"), NO_SPECIES)
def test_what_is_no_species_is_null_and_its_higher_rank_is_kept(
    genus: str | None, written: str, kept: tuple[str, str] | None, kind: str
) -> None:
    lineage, kinds = named({"genus": genus, "species": written})
    assert {rank: name for rank, name in lineage.items() if name} == dict([kept] if kept else [])
    assert kinds == [kind]


@pytest.mark.parametrize(
    "word",
    ["", "NA", "N/A", "\\N", "#N/A", "?", "NULL", "null", "nan", "None", "-", "<NA>", "(null)", "not_classified"],
)
def test_words_for_nothing_are_nothing_and_not_worth_a_remark(word: str) -> None:
    assert named(dict.fromkeys(RANKS, word)) == (dict.fromkeys(RANKS), [])


@pytest.mark.parametrize(
    ("rank", "written", "expected"),
    [
        ("order", "DIPTERA", "Diptera"),
        ("order", "diptera", "Diptera"),
        ("order", "Diptera indet.", "Diptera"),
        ("order", "True bugs", "True bugs"),
        ("order", "Unidentified", None),
        ("family", "Apidae Latreille, 1802", "Apidae"),
        ("family", "Apidae sp.", "Apidae"),
        ("family", "incertae sedis", None),
        ("genus", "Apis Linnaeus, 1758", "Apis"),
        ("genus", "Apis (Apis)", "Apis"),
        ("genus", "Metopina_group", "Metopina"),
        ("genus", "opiMalaise01", None),
        ("genus", "ChiroGn1", None),
        ("genus", "BOLD:AAG3251", None),
    ],
)
def test_names_of_higher_ranks_lose_what_is_no_part_of_them(rank: str, written: str, expected: str | None) -> None:
    assert named({rank: written})[0] == {**dict.fromkeys(RANKS), rank: expected}


def test_a_family_in_the_column_of_genera_moves_to_its_rank() -> None:
    lineage, kinds = named({"genus": "Culicidae", "species": "Culicidae sp."})
    assert lineage == {"order": None, "family": "Culicidae", "genus": None, "species": None}
    assert names.NO_GENUS in kinds


def test_the_same_epithet_of_two_genera_is_two_species_and_of_none_is_no_species() -> None:
    found = [named({"genus": genus, "species": "alpinus"})[0]["species"] for genus in ("Bombus", "Erebia", None, "NA")]
    assert found == ["Bombus alpinus", "Erebia alpinus", None, None]


def test_a_genus_that_is_given_is_not_replaced_by_that_of_the_species() -> None:
    assert named({"genus": "Bombus", "species": "Apis mellifera"})[0]["genus"] == "Bombus"


def test_published_names_stay_as_they_are() -> None:
    published = {
        "order": "Diptera",
        "family": "x_group",
        "genus": "opiMalaise01",
        "species": "Megaselia sp. BOLD:AAG3251",
    }
    assert as_given(published) == (published, [])


_WORDS = st.one_of(
    st.sampled_from(
        [
            "Apis",
            "mellifera",
            "APIS",
            "sp.",
            "cf.",
            "x",
            "×",
            "L.",
            "1758",
            "(Apis)",
            "BOLD:AAA0001",
            "?",
            "&",
            "et",
            "7-punctata",
            "Linnaeus,",
            "nr",
        ]
    ),
    st.text(max_size=12),
)


@example({"order": "_", "family": "__", "genus": "_", "species": "_"})
@example({"order": "", "family": "", "genus": "", "species": "7-punctata Apis"})
@given(st.fixed_dictionaries({rank: st.lists(_WORDS, max_size=5).map(" ".join) for rank in RANKS}))
def test_any_text_gives_names_that_stay_what_they_are(raw: dict[str, str]) -> None:
    lineage, kinds = named(raw)
    assert list(lineage) == list(RANKS)
    assert set(kinds) <= names.NULLED | names.NORMALISED | {names.FILLED}
    again, _ = named(lineage)
    assert again["species"] == lineage["species"]
