"""The headers of the databases that people have, and FASTQ."""

from pathlib import Path

import pytest

from workloads.data.sources.collect import collect
from workloads.data.sources.fasta import read_fasta, read_fastq
from workloads.data.sources.source import Refused
from workloads.data.sources.tables import table_source
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SourceError, UsageError

FULL = {"order": "Diptera", "family": "Culicidae", "genus": "Aedes", "species": "Aedes vexans"}
HEADERS = {
    "BOLD v4": ("F0-21|Aedes vexans|COI-5P|MN000000", "F0-21", {"species": "Aedes vexans"}),
    "BOLD v5": (
        "F0-21|COI-5P|Canada|Animalia,Arthropoda,Insecta,Diptera,Culicidae,None,Aedes,Aedes vexans,None",
        "F0-21",
        FULL,
    ),
    "BOLD v5 with tribes": (
        "F0-21.COI-5P|COI-5P|Canada|Animalia,Arthropoda,Insecta,Diptera,Culicidae,None,None,Aedes,Aedes vexans,None",
        "F0-21",
        FULL,
    ),
    "NCBI": (
        "MN000000.1 Aedes vexans voucher V1 cytochrome oxidase subunit 1 (COI) gene, partial cds; mitochondrial",
        "MN000000.1",
        {"species": "Aedes vexans"},
    ),
    "NCBI of old": ("gi|12|gb|MN000000.1| Aedes vexans isolate X", "MN000000.1", {"species": "Aedes vexans"}),
    "MIDORI2": (
        "MN000000.1.<1.>658\troot_1;Eukaryota_2759;Arthropoda_6656;Insecta_50557;Diptera_7147;Culicidae_7157;"
        "Aedes_7158;Aedes vexans_7000",
        "MN000000.1.<1.>658",
        FULL,
    ),
    "MIDORI2 with ranks": (
        "MN0.1.<1.>658 root_1;superkingdom_Eukaryota_2759;phylum_Arthropoda_6656;class_Insecta_50557;"
        "order_Diptera_7147;family_Culicidae_7157;genus_Aedes_7158;species_Aedes vexans_7000",
        "MN0.1.<1.>658",
        FULL,
    ),
    "SINTAX": (
        "MN000000;tax=k:Animalia,p:Arthropoda,c:Insecta,o:Diptera,f:Culicidae,g:Aedes,s:Aedes_vexans;",
        "MN000000",
        FULL,
    ),
    "DADA2": ("Eukaryota;Arthropoda;Insecta;Diptera;Culicidae;Aedes;vexans;", "s:1", FULL),
    "DADA2 to the genus": (
        "Animalia;Arthropoda;Insecta;Diptera;Culicidae;Aedes;",
        "s:1",
        {rank: FULL[rank] for rank in ("order", "family", "genus")},
    ),
    "DADA2 of species": ("MN0 Aedes vexans", "MN0", {"species": "Aedes vexans"}),
    "UNITE": (
        "Aedes_vexans|UDB01|SH1.08FU|reps|k__Animalia;p__Arthropoda;c__Insecta;o__Diptera;f__Culicidae;g__Aedes;"
        "s__Aedes_vexans",
        "UDB01",
        FULL,
    ),
    "QIIME 2": (
        "MN0 k__Animalia; p__Arthropoda; c__Insecta; o__Diptera; f__Culicidae; g__Aedes; s__vexans",
        "MN0",
        FULL,
    ),
}


@pytest.mark.parametrize("form", HEADERS)
def test_the_header_of_each_database_gives_id_and_ranks(form: str, tmp_path: Path) -> None:
    header, identifier, ranks = HEADERS[form]
    (tmp_path / "s.fasta").write_text(f">{header}\nACGT\n")
    (record,) = read_fasta(tmp_path / "s.fasta")
    assert not isinstance(record, Refused)
    assert {key: value for key, value in record.items() if value and key != "marker"} == {
        "specimen_id": identifier,
        "barcode": "ACGT",
        "where": "line 1",
        **ranks,
    }


@pytest.mark.parametrize("gene", ["28S ribosomal RNA gene", "cytochrome c oxidase subunit II (COII) gene"])
def test_a_sequence_of_another_gene_is_no_barcode(gene: str, tmp_path: Path) -> None:
    (tmp_path / "s.fasta").write_text(f">MN1.1 Aedes vexans voucher V1 {gene}, partial sequence\nACGT\n")
    with pytest.raises(SourceError, match=r"its sequence is of '.*', not of COI"):
        collect(table_source(tmp_path / "s.fasta", {}), SpecimenTable.at(tmp_path / "t.parquet"))


def test_a_refusal_names_the_forms_of_headers_and_no_map(tmp_path: Path) -> None:
    (tmp_path / "s.fasta").write_text(">s1\nxyz!\n>s2\nNN\n")
    with pytest.raises(SourceError, match=r"Labels stand in the headers: .*BOLD v4 and v5, NCBI, MIDORI2") as caught:
        collect(table_source(tmp_path / "s.fasta", {}), SpecimenTable.at(tmp_path / "t.parquet"))
    assert "--map" not in str(caught.value)
    with pytest.raises(UsageError, match=r"s\.fasta has none: its labels stand in headers"):
        table_source(tmp_path / "s.fasta", {"species": "taxon"})


def test_fastq_is_read_and_a_bad_record_costs_itself_alone(tmp_path: Path) -> None:
    good = "@s{0}|Aedes vexans|COI-5P\nACGT\n+\nI@II\n"
    text = good.format(1) + "@s2\nACGT\n+\nII\n" + good.format(3) + "ACGT\nrubbish\n" + good.format(4) + "@s5\nAC\n"
    (tmp_path / "s.fastq").write_text(text)
    records = list(read_fastq(tmp_path / "s.fastq"))
    kept = [record["specimen_id"] for record in records if not isinstance(record, Refused)]
    assert kept == ["s1", "s3", "s4"]
    assert [record.identifier for record in records if isinstance(record, Refused)] == ["line 5", "line 13", "line 19"]


def test_the_pair_of_qiime_2_is_joined(tmp_path: Path) -> None:
    (tmp_path / "sequences.fasta").write_text(">MN0.1\nACGT\n>MN1.1\nACGG\n")
    lineage = "k__Animalia; p__Arthropoda; c__Insecta; o__Diptera; f__Culicidae; g__Aedes; s__Aedes vexans"
    (tmp_path / "taxonomy.tsv").write_text(
        f"Feature ID\tTaxon\tConfidence\nMN0.1\t{lineage}\t1\nMN1.1\tk__A; o__Diptera\t1\n"
    )
    collect(table_source(tmp_path, {}), table := SpecimenTable.at(tmp_path / "out" / "t.parquet"))
    rows = [
        (row["specimen_id"], row["barcode"], row["order"], row["species"])
        for batch in table.batches()
        for row in batch.to_pylist()
    ]
    assert rows == [("MN0.1", "ACGT", "Diptera", "Aedes vexans"), ("MN1.1", "ACGG", "Diptera", None)]
