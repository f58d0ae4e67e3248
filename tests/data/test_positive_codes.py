"""Names as numbers by which specimens are positives of each other, and what is said about them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import IMAGE_SIZE, plain_run
from tests.training.training import train
from workloads.data.inputs.batches import EpochBatches, Specimens
from workloads.data.inputs.positive_codes import positive_codes, positive_words
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.specimens.schema import PROTOCOLS
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SpecError
from workloads.spec import RANKS, ExperimentSpec, PositivesBy
from workloads.storage import Folder

TRAINING = PROTOCOLS["clibd"].training


@pytest.fixture(scope="module")
def with_bins(
    tmp_path_factory: pytest.TempPathFactory, synthetic_table: Callable[[Path, int, int], SpecimenTable]
) -> Callable[[Callable[[int], str | None]], PreparedDataset]:
    """Makes a data set of 150 synthetic insects with other BINs, by the place of each."""

    def make(bin_of: Callable[[int], str | None]) -> PreparedDataset:
        folder = tmp_path_factory.mktemp("bins")
        whole = synthetic_table(folder / "whole.parquet", 150, 3)
        rows = pa.Table.from_batches(whole.batches())
        own = pa.array([bin_of(place) for place in range(len(rows))], pa.string())
        table = SpecimenTable.at(folder / "specimens.parquet")
        with table.writer(whole.facts) as write:
            for batch in rows.set_column(rows.schema.get_field_index("bin"), "bin", own).to_batches():
                write(batch)
        prepare(table, Folder(folder / "odd"), DatasetOptions(name="odd", image_size=IMAGE_SIZE), plain_run)
        return PreparedDataset(Folder(folder / "odd"))

    return make


def by(spec: ExperimentSpec, kind: PositivesBy) -> ExperimentSpec:
    return replace(spec, positives=kind)


@pytest.mark.parametrize("kind", ["bin", "species", "ranks"])
def test_specimens_have_one_code_exactly_where_they_have_one_name(
    kind: PositivesBy, incomplete_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    columns = {"bin": ["bin"], "species": ["species"]}.get(kind, [*reversed(RANKS)])
    codes = positive_codes(by(tiny_spec, kind), incomplete_dataset, TRAINING)
    names = incomplete_dataset.load(TRAINING, columns)
    assert codes is not None
    assert (codes.dtype, codes.shape) == (np.int64, (len(names), len(columns)))
    for column, own in zip(columns, codes.T, strict=True):
        known = np.array(names[column].to_pylist(), dtype=object)
        assert ((own == -1) == [name is None for name in known]).all()
        same = (own[:, None] == own) & (own >= 0)
        assert (same == ((known[:, None] == known) & np.not_equal(known, None))).all()
    if kind != "bin":
        assert (codes == -1).any()


def test_each_specimen_alone_has_no_codes(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> None:
    assert positive_codes(tiny_spec, tiny_dataset, TRAINING) is None
    for codes in (None, np.arange(3)):  # a classifier's are classes
        assert positive_words(tiny_spec, codes, tiny_dataset, TRAINING, np.arange(3)) is None


def test_batches_bring_the_codes_of_their_specimens_whole_and_in_pieces(
    incomplete_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    spec = by(replace(tiny_spec, modalities=("image", "dna"), dataset="incomplete", batch_size=12), "ranks")
    specimens = Specimens(incomplete_dataset, TRAINING, spec, None)
    assert specimens.label is not None
    for asked in EpochBatches(specimens, spec, 0).asked():
        batch = specimens.made(asked)
        assert np.array_equal(batch["label"].numpy(), specimens.label[asked.rows])
        parts = [specimens.made(piece)["label"].numpy() for piece in asked.pieces(5)]
        assert np.array_equal(np.concatenate(parts), batch["label"].numpy())


def test_missing_bins_and_those_that_contradict_species_are_counted_once(
    with_bins: Callable[[Callable[[int], str | None]], PreparedDataset], tiny_spec: ExperimentSpec
) -> None:
    dataset = with_bins(lambda place: None if place % 3 == 0 else "SYN:A" if place < 120 else f"SYN:B{place}")
    names, spec = dataset.load(TRAINING, ["bin", "species"]), by(tiny_spec, "bin")
    rows = np.arange(len(names))
    words = positive_words(spec, positive_codes(spec, dataset, TRAINING), dataset, TRAINING, rows)
    known = [name for name in names["bin"].to_pylist() if name is not None]
    mixed = {
        species
        for bin_, species in zip(*map(pa.ChunkedArray.to_pylist, names.columns[:2]), strict=True)
        if bin_ == "SYN:A"
    }
    assert len(mixed - {None}) > 1
    assert words == (
        f"positives by bin: {len(set(known))} BINs among {len(rows)} specimens; {len(rows) - len(known)} without a BIN "
        "have themselves alone; BINs with records of several species, which are positives of each other all the same: 1"
    )


def test_where_nobody_has_a_bin_it_is_said_before_training(
    with_bins: Callable[[Callable[[int], str | None]], PreparedDataset], tiny_spec: ExperimentSpec
) -> None:
    dataset = with_bins(lambda _: None)
    said = r"odd: no specimen that trains has a BIN.*Prepare the data again.*--set positives=species"
    with pytest.raises(SpecError, match=said):
        positive_codes(by(tiny_spec, "bin"), dataset, TRAINING)


def test_a_run_with_positives_by_rank_takes_other_steps_and_the_same_ones_again(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    short = replace(tiny_spec, epochs=1)
    plain, ranks, again = (
        train(spec, tiny_dataset).watcher.epochs[-1].loss for spec in (short, *[by(short, "ranks")] * 2)
    )
    assert ranks == again
    assert ranks != plain
