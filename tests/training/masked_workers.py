"""One of two workers that pre-train, in float64, run by test_pretraining.py once for each rank.

python masked_workers.py RANK MEETING_FILE OUT.json
"""

import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from workloads.data.specimens.barcode import NUM_TOKENS, START_ID, VOCABULARY_SIZE
from workloads.models.build import TowerInputs, build_model
from workloads.models.clibd import MaskedModel
from workloads.shares import Shares
from workloads.spec import ExperimentSpec
from workloads.tower_specs import DnaTower
from workloads.training.gradient_cache import Chunks, accumulate_gradients, embed_at_once
from workloads.training.loss import masked_loss

BATCH, NUM_GENERA, WEIGHT = 7, 3, 0.3
GENERA = torch.tensor([2, -1, 0, -1, 1, 2, 0])
"""Of two workers' shares of 7, four and three, both have barcodes without a genus."""
KINDS = ("hidden", "all")


def masked_model(kind: str) -> MaskedModel:
    """A model of a few thousand parameters; without dropout, so that a plain loop can follow it."""
    spec = ExperimentSpec(
        dataset="",
        data_fingerprint="",
        objective="masked",
        modalities=("dna",),
        dna=DnaTower(width=8, depth=1, num_heads=2, hidden_width=12, dropout=0.0),
        embedding_size=8,
        trainable_temperature=False,
        masked_loss="all" if kind == "all" else "hidden",
        genus_weight=WEIGHT,
    )
    model = build_model(spec, TowerInputs(num_classes=NUM_GENERA)).double()
    assert isinstance(model, MaskedModel)
    return model


def ids() -> Tensor:
    """Barcodes of unequal length, some 5-mers of which are unknown and some hidden; the fourth has none hidden."""
    random = torch.Generator().manual_seed(7)
    rows = torch.randint(2, VOCABULARY_SIZE, (BATCH, NUM_TOKENS), generator=random)
    rows[:, 0] = START_ID
    hidden = (torch.rand(rows.shape, generator=random) < 0.5) & (rows > 2)
    hidden[3] = False
    rows = torch.where(hidden, -rows, rows)
    for row, length in enumerate((133, 20, 7, 90, 2, 64, 11)):
        rows[row, length:] = 0
    return rows


def found_together(kind: str, cached: bool, rank: int) -> dict[str, Any]:
    """The loss and gradients of one of two workers."""
    model = masked_model(kind)
    wrapped = DistributedDataParallel(model)
    shares = Shares(batch_size=BATCH, num_chunks=5, num_workers=2)
    own = shares.rows(rank)
    chunks, batch = Chunks(shares.chunk_sizes(rank), lambda _: None), {"dna": ids()[own]}
    loss_of = partial(masked_loss, genera=GENERA[own], genus_weight=WEIGHT, sizes=shares.sizes)
    if cached:
        loss = accumulate_gradients(wrapped, batch, loss_of, chunks, nullcontext)
    else:
        loss = loss_of(*embed_at_once(wrapped, batch, chunks, nullcontext))
        loss.backward()
    return {"loss": loss.item(), "gradients": gradients(model.named_parameters())}


def gradients(parameters: Any) -> Mapping[str, list[float]]:
    """By name; those that nothing reached are left out."""
    return {name: one.grad.flatten().tolist() for name, one in parameters if one.grad is not None}


def main(rank: int, meeting: Path, out: Path) -> None:
    """Every kind of loss, at once and with gradients cached."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=2)
    found = {f"{kind} {cached}": found_together(kind, cached, rank) for kind in KINDS for cached in (False, True)}
    out.write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
