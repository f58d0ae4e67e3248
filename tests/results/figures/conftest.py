"""EvaluatedFolder folders that the tests of figures share."""

import pytest

from results.evaluated import EvaluatedFolder
from tests.results.figures.made_up import Row, made_up_rows, write_evaluated
from workloads.data.prepared.dataset import PreparedDataset
from workloads.spec import RANKS


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """130 made-up specimens."""
    return made_up_rows()


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> EvaluatedFolder:
    """An evaluation of them."""
    return write_evaluated(tmp_path_factory.mktemp("runs") / "made-up", rows)


@pytest.fixture(scope="session")
def tiny_evaluated(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: PreparedDataset) -> EvaluatedFolder:
    """An evaluation of synthetic insects, which have pictures and barcodes."""
    protocol = tiny_dataset.facts.splits
    splits = [split for split in protocol.splits if split not in (*protocol.training, *protocol.unused)]
    table = tiny_dataset.load(splits, ["specimen_id", *RANKS])
    folder = tmp_path_factory.mktemp("tiny-runs") / "tiny"
    return write_evaluated(folder, table.to_pylist(), dataset=tiny_dataset.facts.name, synthetic=True)
