"""Synthetic insects as a source."""

from pathlib import Path

from workloads.data.sources.collect import collect
from workloads.data.sources.opening import synthetic_source
from workloads.data.specimens.specimen_table import SpecimenTable


def test_synthetic_insects_say_that_they_are(tmp_path: Path) -> None:
    table = SpecimenTable.at(tmp_path / "insects.parquet")
    source = synthetic_source(30, seed=5)
    report = collect(source, table)
    assert (report.num_specimens, report.rejects, source.total) == (30, (), 30)
    assert report.modalities == ("image", "dna", "text")
    assert (table.facts.synthetic_seed, table.facts.source, table.facts.partition) == (5, "synthetic insects", None)
