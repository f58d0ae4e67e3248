"""One worker of the global losses in float64, run by test_loss.py as a program, once for each rank.

python some_workers.py RANK NUM_WORKERS MEETING_FILE OUT.json
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from workloads.shares import Shares
from workloads.training.gradient_cache import Chunks, LossFunction, accumulate_gradients, embed_at_once
from workloads.training.loss import classification_loss, contrastive_loss, two_view_loss
from workloads.training.micro_batch import largest_micro_batch
from workloads.training.positives import Positives

BATCH, WIDTH, SIZE, STEPS = 14, 5, 6, 4
LABELS = torch.arange(BATCH) % SIZE
MODALITIES = ("image", "dna", "text")
THERE = {
    "image": torch.tensor([1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1, 1]).bool(),
    "dna": torch.tensor([0, 0, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1]).bool(),
}
"""Who has these of the batch; all have text. Of two workers one has nobody with an image and a barcode."""
CODES = torch.tensor(
    [
        [0, 0],
        [1, 0],
        [0, 0],
        [2, 1],
        [3, 1],
        [-1, 0],
        [0, 0],
        [2, 1],
        [-1, -1],
        [1, 0],
        [4, 1],
        [2, 1],
        [-1, -1],
        [5, 2],
    ]
)
WEIGHTS = (1.0, 0.3)
"""Species and genus of each of the batch, and what they weigh."""


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
    loss: Callable[[slice, Sequence[int] | None], LossFunction] = lambda _, sizes: partial(
        contrastive_loss, sizes=sizes
    )
    """By the part of the batch that it is given, and the sizes of all parts."""
    num_chunks: int = 4
    """So two or four workers have as many each, and three have not."""
    cached: bool = False
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


def _labelled(part: slice, sizes: Sequence[int] | None) -> LossFunction:
    return partial(classification_loss, labels=LABELS[part], sizes=sizes)


def _bound(_: slice, sizes: Sequence[int] | None) -> LossFunction:
    return partial(contrastive_loss, bind_to="dna", sizes=sizes)


def _tiled(_: slice, sizes: Sequence[int] | None) -> LossFunction:
    return partial(contrastive_loss, tile=3, sizes=sizes)


def _lacking(part: slice, sizes: Sequence[int] | None) -> LossFunction:
    return partial(contrastive_loss, sizes=sizes, there={name: mask[part] for name, mask in THERE.items()})


def _tiled_lacking(part: slice, sizes: Sequence[int] | None) -> LossFunction:
    return partial(_lacking(part, sizes), tile=2)


def _none_of_a_pair(part: slice, sizes: Sequence[int] | None) -> LossFunction:
    there = {"image": THERE["image"][part], "dna": ~THERE["image"][part]}
    return partial(contrastive_loss, sizes=sizes, there=there)


def _with_positives(part: slice, sizes: Sequence[int] | None) -> LossFunction:
    return partial(contrastive_loss, sizes=sizes, positives=Positives(CODES[part], WEIGHTS))


def _tiled_with_positives(part: slice, sizes: Sequence[int] | None) -> LossFunction:
    return partial(contrastive_loss, sizes=sizes, tile=3, positives=Positives(CODES[part], WEIGHTS))


def _lacking_with_positives(part: slice, sizes: Sequence[int] | None) -> LossFunction:
    there, own = {name: mask[part] for name, mask in THERE.items()}, Positives(CODES[part], WEIGHTS)
    return partial(contrastive_loss, sizes=sizes, tile=3, bind_to="dna", there=there, positives=own)


def _two_views(_: slice, sizes: Sequence[int] | None) -> LossFunction:
    return partial(two_view_loss, sizes=sizes)


def _tiled_views(_: slice, sizes: Sequence[int] | None) -> LossFunction:
    return partial(two_view_loss, tile=4, sizes=sizes)


CASES = {
    "three modalities": Case(),
    "bound to dna": Case(loss=_bound),
    "uneven tiles": Case(loss=_tiled),
    "two modalities, fixed temperature": Case(inputs=("dna", "text"), trained_temperature=False),
    "two views": Case(inputs=("image", "image/other"), loss=_two_views),
    "two views, uneven tiles": Case(inputs=("dna", "dna/other"), loss=_tiled_views),
    "some lack modalities": Case(loss=_lacking),
    "some lack modalities, uneven tiles": Case(loss=_tiled_lacking),
    "nobody has both of a pair": Case(loss=_none_of_a_pair),
    "cached, some lack modalities": Case(loss=_lacking, cached=True, num_chunks=11, dropout=0.3),
    "cached, some lack modalities, uneven tiles": Case(loss=_tiled_lacking, cached=True, num_chunks=5),
    "more positives": Case(loss=_with_positives),
    "more positives, uneven tiles": Case(loss=_tiled_with_positives),
    "more positives, some lack modalities": Case(loss=_lacking_with_positives),
    "cached, more positives": Case(loss=_with_positives, cached=True, num_chunks=11, dropout=0.3),
    "cached, more positives, uneven tiles": Case(loss=_tiled_with_positives, cached=True, num_chunks=5, dropout=0.3),
    "cached, more positives, some lack modalities": Case(loss=_lacking_with_positives, cached=True, num_chunks=9),
    "classes": Case(inputs=("image",), loss=_labelled),
    "dropout": Case(dropout=0.3, num_chunks=7),
    "dropout, a specimen a chunk": Case(dropout=0.3, num_chunks=BATCH),
    "cached": Case(cached=True, num_chunks=11, dropout=0.3),
    "cached, some with one chunk": Case(cached=True, num_chunks=4, dropout=0.3),
    "cached, a frozen tower that draws": Case(cached=True, num_chunks=8, dropout=0.3, frozen="dna"),
    "cached, fixed temperature": Case(cached=True, num_chunks=9, dropout=0.3, trained_temperature=False),
    "cached, two views": Case(inputs=("dna", "dna/other"), loss=_tiled_views, cached=True, num_chunks=9, dropout=0.3),
    "cached, classes": Case(inputs=("image",), loss=_labelled, cached=True, num_chunks=10, dropout=0.3),
}


def found_alone(case: Case) -> dict[str, Any]:
    """By one process, step by step: every chunk embedded with its random numbers, and the plain graph."""
    model = case.model()
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=0.01), list[float]()
    for step in range(STEPS):
        optimizer.zero_grad()
        parts: list[dict[str, Tensor]] = []
        batch = {name: rows.tensor_split(case.num_chunks) for name, rows in case.batch(slice(None)).items()}
        for chunk in range(case.num_chunks):
            torch.manual_seed(100 * step + chunk)
            embedded, scale = model({name: rows[chunk] for name, rows in batch.items()})
            parts.append(embedded)
        whole = {name: torch.cat([part[name] for part in parts]) for name in case.inputs}
        loss = case.loss(slice(None), None)(whole, scale)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            first = _gradients(model)
        optimizer.step()
    return {"losses": losses, "gradients": first}


def found_together(case: Case, rank: int, num_workers: int) -> dict[str, Any]:
    """By one of a group of processes, whose later steps find the reduction of gradients as the first one left it."""
    model = case.model()
    wrapped = DistributedDataParallel(model)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=0.01), list[float]()
    shares = Shares(batch_size=BATCH, num_chunks=case.num_chunks, num_workers=num_workers)
    own, mine = shares.rows(rank), shares.chunks(rank)
    for step in range(STEPS):
        optimizer.zero_grad()
        chunks = Chunks(shares.chunk_sizes(rank), lambda number: torch.manual_seed(100 * step + mine[number]))  # noqa: B023
        batch, of_share = case.batch(own), case.loss(own, shares.sizes)
        if case.cached:
            loss = accumulate_gradients(wrapped, batch, of_share, chunks, nullcontext)
        else:
            loss = of_share(*embed_at_once(wrapped, batch, chunks, nullcontext))
            loss.backward()
        losses.append(loss.item())
        if step == 0:
            first = _gradients(model)
        optimizer.step()
    return {"losses": losses, "gradients": first}


def _gradients(model: nn.Module) -> dict[str, list[float]]:
    return {name: p.grad.flatten().tolist() for name, p in model.named_parameters() if p.grad is not None}


def agreed_micro_batch(rank: int) -> int:
    """What workers settle on that were given unlike shares; all of any would fit."""
    case = Case()
    return largest_micro_batch(
        DistributedDataParallel(case.model()), case.batch(slice(2)), contrastive_loss, nullcontext, share=8 + rank
    )


def main(rank: int, num_workers: int, meeting: Path, out: Path) -> None:
    """Losses and gradients of every case."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=num_workers)
    found: dict[str, Any] = {name: found_together(case, rank, num_workers) for name, case in CASES.items()}
    out.write_text(json.dumps({"cases": found, "micro_batch": agreed_micro_batch(rank)}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
