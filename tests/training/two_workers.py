"""One worker of the global loss in float64, run by test_loss.py as a program, once for each rank.

python two_workers.py RANK NUM_WORKERS MEETING_FILE OUT.json
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from workloads.training.loss import contrastive_loss

BATCH, WIDTH, SIZE = 8, 5, 6


class LinearTowers(nn.Module):
    """Linear towers and a trained temperature."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(3)
        names = ("image", "dna", "text")
        drawn = {name: torch.randn(SIZE, WIDTH, dtype=torch.float64, generator=random) for name in names}
        self.towers = nn.ParameterDict(drawn)
        self.log_scale = nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

    def forward(self, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Unit embeddings by modality, and the scale."""
        embedded = {name: nn.functional.normalize(rows @ self.towers[name].T, dim=1) for name, rows in inputs.items()}
        return embedded, self.log_scale.exp()


def main(rank: int, num_workers: int, meeting: Path, out: Path) -> None:
    """Loss and gradients of this worker's share of the batch."""
    torch.set_num_threads(1)
    model = LinearTowers()
    wrapped: nn.Module = model
    if num_workers > 1:
        dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=num_workers)
        wrapped = DistributedDataParallel(model)
    random = torch.Generator().manual_seed(4)
    share = slice(rank * BATCH // num_workers, (rank + 1) * BATCH // num_workers)
    batch = {
        name: torch.randn(BATCH, WIDTH, dtype=torch.float64, generator=random)[share] for name in sorted(model.towers)
    }
    loss = contrastive_loss(*wrapped(batch))
    loss.backward()
    gradients = {name: p.grad.flatten().tolist() for name, p in model.named_parameters() if p.grad is not None}
    out.write_text(json.dumps({"loss": loss.item(), "gradients": gradients}))
    if num_workers > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
