"""What workers share and what their kernels are told."""

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import run_together
from workloads.data.prepared.dataset import PreparedDataset
from workloads.memory import let_segments_grow
from workloads.placement import full_precision, join_group, least_of_workers, matrix_products
from workloads.spec import ExperimentSpec, spec_to_dict
from workloads.tower_specs import DnaTower

PROGRAM = Path(__file__).with_name("two_trainers.py")


def test_products_and_convolutions_are_in_tf32_only_where_the_precision_says_so() -> None:
    def told() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = told()
    for precision, expected in (("tf32", True), ("fp32", False), ("bf16", False)):
        with matrix_products(precision):
            assert told() == (expected, expected)
            with full_precision(torch.device("cpu")):
                assert told() == (False, False)
            assert told() == (expected, expected)
    assert told() == before


def test_a_worker_with_a_gpu_is_bound_to_it_and_still_talks_from_processor_to_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What torch is given; no GPU is needed to be asked for."""
    given = list[tuple[Any, ...]]()
    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda backend, timeout, device_id, **where: given.append((backend, timeout, device_id, where)),
    )
    hour = timedelta(hours=1)
    join_group(torch.device("cuda:3"), hour)
    join_group(torch.device("cpu"), hour, rank=1)
    assert given == [("cpu:gloo,cuda:nccl", hour, torch.device("cuda:3"), {}), ("gloo", hour, None, {"rank": 1})]


def test_the_allocator_grows_its_segments_unless_it_is_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (names := ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    let_segments_grow()
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    for name in names:
        monkeypatch.delenv("PYTORCH_ALLOC_CONF")
        monkeypatch.setenv(name, "max_split_size_mb:64")
        let_segments_grow()
        assert os.environ.get("PYTORCH_ALLOC_CONF", "max_split_size_mb:64") == "max_split_size_mb:64"


def test_a_worker_alone_agrees_with_itself() -> None:
    assert least_of_workers(3) == 3


@pytest.fixture(scope="module")
def workers(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each of two processes found that trained a CNN with batch normalisation."""
    folder = tmp_path_factory.mktemp("workers")
    spec = replace(tiny_spec, modalities=("dna", "text"), dna=DnaTower(kind="cnn"), epochs=2, batch_size=32)
    asked = {"data": str(tiny_dataset.folder), "spec": spec_to_dict(spec)}
    (folder / "asked.json").write_text(json.dumps(asked))
    run_together(PROGRAM, [(rank, folder) for rank in range(2)])
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_workers_score_one_model_running_statistics_included(workers: list[dict[str, Any]]) -> None:
    assert len(workers[0]["scored"]) == 2
    assert workers[0]["scored"] == workers[1]["scored"]


def test_workers_that_find_different_checkpoints_are_refused(workers: list[dict[str, Any]]) -> None:
    assert all("keep runs where all can reach them" in worker["refused"] for worker in workers)


def test_two_workers_never_share_dropout(workers: list[dict[str, Any]]) -> None:
    mine, theirs = (worker["drawn"] for worker in workers)
    # Two epochs of two steps of two micro-batches, each passed twice with the same dropout.
    assert len(set(mine)) == 8 == len(mine) / 2
    assert not set(mine) & set(theirs)


def test_the_rate_is_of_all_workers_together(workers: list[dict[str, Any]], tiny_dataset: PreparedDataset) -> None:
    steps = tiny_dataset.facts.num_training // 32
    for worker in workers:
        assert worker["trained"] == pytest.approx([steps * 32] * 2)
