"""`clibd train pretrain-dna` on barcodes that nobody has named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from commands.clibd import app as clibd
from tests.training.test_pretraining import only_run, words
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import SourceOptions, open_source
from workloads.data.specimens.own_splits import OWN_PROTOCOL, small_parts, with_keys
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SpecError, TooFewSpecimensError
from workloads.storage import Folder
from workloads.training.__main__ import app

Fasta = Callable[[list[str]], PreparedDataset]


@pytest.fixture
def unnamed(tmp_path: Path) -> Fasta:
    """Prepares barcodes of a FASTA file without names, as `clibd data partition --recipe small` has them."""

    def make(barcodes: list[str]) -> PreparedDataset:
        source = tmp_path / "x.fasta"
        source.write_text("".join(f">b{row}\n{barcode}\n" for row, barcode in enumerate(barcodes)))
        table = SpecimenTable.at(tmp_path / "specimens.parquet")
        collect(open_source(str(source), "auto", SourceOptions()), table)
        species = table.column("species")
        table.with_splits(with_keys(species, small_parts(species)), "small, seed 42", table, OWN_PROTOCOL)
        prepare(table, Folder(tmp_path / "data"), DatasetOptions(name="unnamed", max_rejects=1), map)
        return PreparedDataset(Folder(tmp_path / "data"))

    return make


def drawn(count: int, length: int = 300) -> list[str]:
    random = np.random.default_rng(1)
    return ["".join("ACGT"[base] for base in random.integers(4, size=length)) for _ in range(count)]


def test_all_barcodes_without_names_train(unnamed: Fasta, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = unnamed(drawn(40))
    app(words(dataset, tmp_path / "runs"), standalone_mode=False)
    said = capsys.readouterr().err
    assert "40 specimens train: 2 batches of 16" in said
    assert "no barcode is held out from training" in said
    assert "clibd train image-dna --data DIR --from" in said
    run = only_run(tmp_path / "runs")
    assert (run.state(), run.measurements()) == ("finished", [])
    done = CliRunner().invoke(clibd, ["results", "list", "--runs", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    with pytest.raises(SpecError, match=r"no training specimen has a genus, so .* set genus_weight=0"):
        app(words(dataset, tmp_path / "runs", "--set=genus_weight=0.1"), standalone_mode=False)
    with pytest.raises(TooFewSpecimensError, match=r"40 training specimen.* take a batch of 40 or less"):
        app(words(dataset, tmp_path / "runs", "--batch-size=41"), standalone_mode=False)


def test_barcodes_that_have_not_one_5_mer_are_refused(unnamed: Fasta, tmp_path: Path) -> None:
    dataset = unnamed(["ACG", "ACGTNACGTNAC", *(["AC"] * 30)])
    with pytest.raises(SpecError, match="no training barcode has 5 certain bases in a row"):
        app(words(dataset, tmp_path / "runs"), standalone_mode=False)
