"""One worker of the global losses in float64, run by test_loss.py as a program, once for each rank.

python two_workers.py RANK NUM_WORKERS MEETING_FILE OUT.json
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from workloads.training.gradient_cache import LossFunction, accumulate_gradients
from workloads.training.loss import classification_loss, contrastive_loss, two_view_loss
from workloads.training.micro_batch import largest_micro_batch

NUM_WORKERS, SHARE, WIDTH, SIZE = 2, 7, 5, 6
BATCH = NUM_WORKERS * SHARE
LABELS = torch.arange(BATCH) % SIZE
MODALITIES = ("image", "dna", "text")


class LinearTowers(nn.Module):
    """Linear towers with dropout, and a temperature."""

    def __init__(self, dropout: float, trained_temperature: bool, frozen: str | None) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.towers = nn.ParameterDict()
        for name in MODALITIES:
            weights = torch.randn(SIZE, WIDTH, dtype=torch.float64, generator=random)
            self.towers[name] = nn.Parameter(weights, requires_grad=name != frozen)
        log_scale = torch.tensor(1.3, dtype=torch.float64)
        if trained_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Unit embeddings by name, and the scale."""
        embedded = {name: self._embed(name.split("/")[0], rows) for name, rows in inputs.items()}
        return embedded, self.log_scale.exp()

    def _embed(self, modality: str, rows: Tensor) -> Tensor:
        return nn.functional.normalize(self.dropout(rows) @ self.towers[modality].T, dim=1)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is embedded, how, and which loss is taken on it."""

    inputs: tuple[str, ...] = MODALITIES
    loss: Callable[[slice], LossFunction] = lambda _: contrastive_loss
    """By the part of the batch that it is given."""
    micro_batch: int = SHARE
    dropout: float = 0.0
    trained_temperature: bool = True
    frozen: str | None = None

    def model(self) -> LinearTowers:
        """The same on every worker."""
        model = LinearTowers(self.dropout, self.trained_temperature, self.frozen)
        for name, weights in model.towers.items():
            weights.requires_grad_(name != self.frozen and any(name == one.split("/")[0] for one in self.inputs))
        return model

    def batch(self, part: slice) -> dict[str, Tensor]:
        """Part of the batch."""
        random = torch.Generator().manual_seed(4)
        return {name: torch.randn(BATCH, WIDTH, dtype=torch.float64, generator=random)[part] for name in self.inputs}


def _labelled(part: slice) -> LossFunction:
    return partial(classification_loss, labels=LABELS[part])


CASES = {
    "three modalities": Case(),
    "bound to dna": Case(loss=lambda _: partial(contrastive_loss, bind_to="dna")),
    "uneven tiles": Case(loss=lambda _: partial(contrastive_loss, tile=3)),
    "two modalities, fixed temperature": Case(inputs=("dna", "text"), trained_temperature=False),
    "two views": Case(inputs=("image", "image/other"), loss=lambda _: two_view_loss),
    "two views, uneven tiles": Case(inputs=("dna", "dna/other"), loss=lambda _: partial(two_view_loss, tile=4)),
    "classes": Case(inputs=("image",), loss=_labelled),
    "cached": Case(micro_batch=3, dropout=0.3),
    "cached, a frozen tower that draws": Case(micro_batch=2, dropout=0.3, frozen="dna"),
    "cached, fixed temperature": Case(micro_batch=4, dropout=0.3, trained_temperature=False),
    "cached, two views": Case(
        inputs=("dna", "dna/other"), loss=lambda _: partial(two_view_loss, tile=4), micro_batch=3, dropout=0.3
    ),
    "cached, classes": Case(inputs=("image",), loss=_labelled, micro_batch=3, dropout=0.3),
}


def found_alone(case: Case) -> dict[str, Any]:
    """By one process: every worker's share embedded with its random numbers, in its chunks, and the plain graph."""
    model = case.model()
    parts: list[dict[str, Tensor]] = []
    for rank in range(NUM_WORKERS):
        torch.manual_seed(rank)
        for chunk in _chunks(case.batch(_share(rank)), case.micro_batch):
            embedded, scale = model(chunk)
            parts.append(embedded)
    whole = {name: torch.cat([part[name] for part in parts]) for name in case.inputs}
    loss = case.loss(slice(None))(whole, scale)
    loss.backward()
    return _findings(loss, model)


def found_together(case: Case, rank: int) -> dict[str, Any]:
    """By one of a group of processes."""
    model = case.model()
    torch.manual_seed(rank)
    wrapped = DistributedDataParallel(model)
    for _ in range(2):  # the second step finds the reduction of gradients as the first one left it
        model.zero_grad()
        torch.manual_seed(rank)
        batch, of_share = case.batch(_share(rank)), case.loss(_share(rank))
        if case.micro_batch < SHARE:
            loss = accumulate_gradients(wrapped, batch, of_share, micro_batch=case.micro_batch, kernels=nullcontext)
        else:
            loss = of_share(*wrapped(batch))
            loss.backward()
    return _findings(loss, model)


def _share(rank: int) -> slice:
    return slice(rank * SHARE, (rank + 1) * SHARE)


def _chunks(batch: Mapping[str, Tensor], micro_batch: int) -> Iterator[dict[str, Tensor]]:
    count = -(-SHARE // micro_batch)
    for number in range(count):
        yield {name: rows.tensor_split(count)[number] for name, rows in batch.items()}


def _findings(loss: Tensor, model: nn.Module) -> dict[str, Any]:
    gradients = {name: p.grad.flatten().tolist() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.item(), "gradients": gradients}


def agreed_micro_batch(rank: int) -> int:
    """What workers with unlike shares settle on; all of either would fit."""
    case = Case()
    return largest_micro_batch(
        DistributedDataParallel(case.model()),
        case.batch(slice(2)),
        contrastive_loss,
        nullcontext,
        share=SHARE + NUM_WORKERS - rank,
    )


def main(rank: int, num_workers: int, meeting: Path, out: Path) -> None:
    """Losses and gradients of every case."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=num_workers)
    found: dict[str, Any] = {name: found_together(case, rank) for name, case in CASES.items()}
    out.write_text(json.dumps({"cases": found, "micro_batch": agreed_micro_batch(rank)}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
