"""What many tests share: a tiny prepared data set of synthetic insects, and an experiment that fits it."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.buckets import served_bucket
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, Work, prepare
from workloads.data.prepared.shards import Shard, ShardReport
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import synthetic_source
from workloads.data.specimens.partition import partition
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.recipes import with_fine_tuning
from workloads.spec import RANKS, ExperimentSpec
from workloads.storage import Folder
from workloads.tower_specs import DnaTower, ImageTower, TextTower

IMAGE_SIZE = 64
NUM_SPECIMENS = 150
SEED = 3
RAY = "tests/ray/"
collect_ignore = ["browser", "cluster", "faults"]
"""Unless they are asked for by name, as `make test-browser`, `make test-cluster` and `make test-faults` do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those of Ray come first: they take the longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(RAY))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Where several processes share the tests, a file stays with one, and all of Ray with one and its cluster.

    Not by `--dist loadgroup`, which pytest 9.2 and pytest-xdist 3.8 do not agree on.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return RAY if nodeid.startswith(RAY) else nodeid.partition("::")[0]

    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _one_thread_of_libraries() -> None:
    """Tiny arrays are slower on several threads than on one, much so beside other work."""
    import faiss
    from threadpoolctl import threadpool_limits

    faiss.omp_set_num_threads(1)
    threadpool_limits(1)


@pytest.fixture(autouse=True)
def _one_thread_of_torch() -> None:
    """Before each test: numba, which UMAP runs on, sets the threads of all of OpenMP anew, and sums then differ."""
    import torch

    torch.set_num_threads(1)


def plain_run(work: Work, shards: Sequence[Shard]) -> Iterable[ShardReport]:
    """The shards one after another, without Ray."""
    return map(work, shards)


@pytest.fixture(scope="session", autouse=True)
def _hang_ups_are_heard() -> None:
    """Who starts the tests under nohup, as some managers of jobs do, means them, not the programs that they start."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _in_no_session_of_ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that tests of Ray share is open until the last one, and commands within a session end otherwise."""
    if not request.node.nodeid.startswith(RAY):
        monkeypatch.setattr("workloads.stopping._AT_ONCE", [])


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Local copies of data sets stay out of the user's cache."""
    os.environ["CLIBD_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Address of an empty bucket; a real S3 protocol, served on this machine."""
    with served_bucket() as address:
        yield address


@pytest.fixture(scope="session")
def synthetic_table() -> Callable[[Path, int, int], SpecimenTable]:
    """Makes a partitioned table of synthetic insects: where, how many, which seed."""

    def make(path: Path, count: int, seed: int) -> SpecimenTable:
        table = SpecimenTable.at(path)
        collect(synthetic_source(count, seed), table)
        table.with_splits(partition(table.column("species")), "paper, seed 42", table)
        return table

    return make


@pytest.fixture(scope="session")
def tiny_dataset(
    tmp_path_factory: pytest.TempPathFactory, synthetic_table: Callable[[Path, int, int], SpecimenTable]
) -> PreparedDataset:
    """150 synthetic insects, prepared without Ray."""
    folder = tmp_path_factory.mktemp("prepared")
    table = synthetic_table(folder / "specimens.parquet", NUM_SPECIMENS, SEED)
    target = Folder(folder / "tiny")
    prepare(table, target, DatasetOptions(name="tiny", image_size=IMAGE_SIZE), plain_run)
    return PreparedDataset(target)


@pytest.fixture(scope="session")
def incomplete_table(tmp_path_factory: pytest.TempPathFactory) -> SpecimenTable:
    """270 synthetic insects, each third of which lacks its image, its barcode or its names; some lack all."""
    folder = tmp_path_factory.mktemp("incomplete")
    whole, table = SpecimenTable.at(folder / "whole.parquet"), SpecimenTable.at(folder / "specimens.parquet")
    collect(synthetic_source(270, SEED), whole)
    rows = pa.Table.from_batches(whole.batches())
    number = np.random.default_rng(SEED).permutation(len(rows))
    for which, columns in enumerate((["image"], ["barcode", "barcode_as_given"], [*RANKS])):
        lacks = pa.array(number // 3**which % 3 == 0)
        for name in columns:
            lacking = pc.if_else(lacks, pa.scalar(None, pa.string()), rows[name])
            rows = rows.set_column(rows.schema.get_field_index(name), name, lacking)
    with table.writer(whole.facts) as write:
        for batch in rows.to_batches():
            write(batch)
    table.with_splits(partition(table.column("species")), "paper, seed 42", table)
    return table


@pytest.fixture(scope="session")
def incomplete_dataset(tmp_path_factory: pytest.TempPathFactory, incomplete_table: SpecimenTable) -> PreparedDataset:
    """These, prepared without Ray; some with one modality or none are left out."""
    target = Folder(tmp_path_factory.mktemp("prepared") / "incomplete")
    options = DatasetOptions(name="incomplete", image_size=IMAGE_SIZE)
    prepare(incomplete_table, target, options, plain_run)
    return PreparedDataset(target)


@pytest.fixture(scope="session")
def tiny_spec(tiny_dataset: PreparedDataset) -> ExperimentSpec:
    """Towers of a few thousand parameters over the tiny data set; dropout is on, so that its seeds matter."""
    return ExperimentSpec(
        dataset=tiny_dataset.facts.name,
        data_fingerprint=tiny_dataset.facts.fingerprint,
        synthetic=True,
        image=ImageTower(
            architecture="vit_tiny_patch16_224", image_size=32, patch_size=16, width=24, depth=1, num_heads=3
        ),
        dna=DnaTower(width=16, depth=1, num_heads=2, hidden_width=32, dropout=0.1, token_dropout=0.1),
        text=TextTower(width=16, depth=1, num_heads=2, hidden_width=32, dropout=0.1),
        embedding_size=16,
        batch_size=16,
        epochs=3,
        max_learning_rate=3e-3,
        initial_learning_rate=1e-3,
        precision="fp32",
        seed=5,
    )


@pytest.fixture(scope="session")
def tiny_lora_spec(tiny_spec: ExperimentSpec) -> ExperimentSpec:
    """The same with frozen transformers and adapters."""
    return with_fine_tuning(tiny_spec, "lora")
