"""The contrastive loss against its definition in loops, and on two workers against one."""

import json
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.training.loss import contrastive_loss, pair_loss

PROGRAM = Path(__file__).with_name("two_workers.py")


def by_definition(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """Equation 1 of the paper, one logit at a time; differentiable."""
    n, total = len(a), torch.zeros((), dtype=a.dtype)
    for x, y in ((a, b), (b, a)):
        for i in range(n):
            logits = [scale * (x[i] * y[j]).sum() for j in range(n)]
            total = total - (logits[i] - torch.stack(logits).logsumexp(0))
    return total / (2 * n)


def in_plain_python(a: list[list[float]], b: list[list[float]], scale: float) -> float:
    n, total = len(a), 0.0
    for x, y in ((a, b), (b, a)):
        for i in range(n):
            logits = [scale * sum(p * q for p, q in zip(x[i], y[j], strict=True)) for j in range(n)]
            total -= logits[i] - math.log(sum(math.exp(value) for value in logits))
    return total / (2 * n)


def unit_rows(count: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 5, dtype=torch.float64, generator=random), dim=1)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("scale", [0.5, 1 / 0.07])
def test_the_pair_loss_is_its_definition(batch: int, scale: float) -> None:
    a, b = unit_rows(batch, 0), unit_rows(batch, 1)
    found = pair_loss(a, b, torch.tensor(scale, dtype=torch.float64))
    assert found.item() == pytest.approx(in_plain_python(a.tolist(), b.tolist(), scale), abs=1e-12)


def test_identical_rows_share_the_probability() -> None:
    same = unit_rows(1, 0).expand(4, -1)
    assert pair_loss(same, same, torch.tensor(3.0)).item() == pytest.approx(math.log(4), abs=1e-12)


def test_the_gradient_of_the_pair_loss_is_that_of_its_definition() -> None:
    gradients = []
    for loss in (pair_loss, by_definition):
        variables = [unit_rows(7, 0), unit_rows(7, 1), torch.tensor(4.0, dtype=torch.float64)]
        for variable in variables:
            variable.requires_grad_()
        gradients.append(torch.autograd.grad(loss(*variables), variables))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_gradient_agrees_with_finite_differences() -> None:
    variables = (unit_rows(3, 0), unit_rows(3, 1), torch.tensor(2.0, dtype=torch.float64))
    for variable in variables:
        variable.requires_grad_()
    assert torch.autograd.gradcheck(pair_loss, variables)


def test_the_pair_loss_is_symmetric_in_its_modalities() -> None:
    a, b, scale = unit_rows(6, 0), unit_rows(6, 1), torch.tensor(5.0, dtype=torch.float64)
    assert pair_loss(a, b, scale).item() == pytest.approx(pair_loss(b, a, scale).item(), abs=1e-14)


def test_the_order_of_specimens_does_not_matter() -> None:
    a, b, scale = unit_rows(6, 0), unit_rows(6, 1), torch.tensor(5.0, dtype=torch.float64)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert pair_loss(a[order], b[order], scale).item() == pytest.approx(pair_loss(a, b, scale).item(), abs=1e-14)


def test_the_loss_is_the_mean_over_all_pairs_of_modalities() -> None:
    rows = {name: unit_rows(5, seed) for seed, name in enumerate(("image", "dna", "text"))}
    scale = torch.tensor(3.0, dtype=torch.float64)
    pairs = (("image", "dna"), ("image", "text"), ("dna", "text"))
    expected = sum(by_definition(rows[a], rows[b], scale).item() for a, b in pairs) / 3
    assert contrastive_loss(rows, scale).item() == pytest.approx(expected, abs=1e-12)


def run_workers(num_workers: int, folder: Path) -> list[dict[str, Any]]:
    """What each of a group of processes found."""
    outs = [folder / f"{num_workers}-{rank}.json" for rank in range(num_workers)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(rank), str(num_workers), str(folder / "meeting"), str(out)],
            env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])},  # this checkout, not an installed one
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, out in enumerate(outs)
    ]
    try:
        for process in processes:
            _, complaint = process.communicate(timeout=240)
            assert process.returncode == 0, complaint
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [json.loads(out.read_text()) for out in outs]


def test_two_workers_have_the_loss_and_gradients_of_one(tmp_path: Path) -> None:
    runpy.run_path(str(PROGRAM))["main"](0, 1, tmp_path / "nowhere", tmp_path / "alone.json")
    alone = json.loads((tmp_path / "alone.json").read_text())
    assert {"log_scale", "towers.image", "towers.dna", "towers.text"} == set(alone["gradients"])
    assert all(any(abs(value) > 1e-4 for value in values) for values in alone["gradients"].values())
    for worker in run_workers(2, tmp_path):
        assert worker["loss"] == pytest.approx(alone["loss"], abs=1e-10)
        for name, values in alone["gradients"].items():
            # float64: only the order of sums differs.
            assert worker["gradients"][name] == pytest.approx(values, abs=1e-10), name
