"""Gradient caching against the whole batch at once: memory, time and equality, on three small towers with dropout.

    python -m benchmarks.gradient_cache             some two minutes

Micro-batches of 32 specimens, one thread, fp32. Memory is that in use, of a process for each batch; time is the best of
three rounds, both ways in turn. Goals at a batch of 8 micro-batches: 1.3 times the extra memory of one, and 1.45 times
the time of the whole batch at once. In fp64, gradients with replayed dropout equal those of one graph.
"""

import json
import sys
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.measuring import best_seconds, publish
from benchmarks.peak_memory import in_own_process, peak_and_seconds
from workloads.models.clibd import Clibd
from workloads.shares import Shares
from workloads.training.gradient_cache import Chunks, accumulate_gradients, embed_at_once
from workloads.training.loss import contrastive_loss

MICRO_BATCH = 32
MULTIPLES = (1, 2, 4, 8)
ROUNDS = 3
EMBEDDING, WIDTH, DEPTH, FEATURES = 128, 192, 3, 96
TOKENS = {"image": 50, "dna": 64, "text": 16}


def main() -> None:
    """Measure, print, and keep the figures."""
    batches = [multiple * MICRO_BATCH for multiple in MULTIPLES]
    peaks = {way: {str(batch): extra_peak_mb(way, batch) for batch in batches} for way in ("cached", "direct")}
    growth = peaks["cached"][str(batches[-1])] / peaks["direct"][str(MICRO_BATCH)]
    seconds = seconds_of(batches[-1])
    exact = differences(batch=20, micro_batch=7)
    figures = {
        "micro_batch": MICRO_BATCH,
        "extra_peak_mb_by_batch": peaks,
        "growth_of_memory": growth,
        "batch_timed": batches[-1],
        "seconds": seconds,
        "time_over_direct": seconds["cached"] / seconds["direct"],
        "largest_difference_fp64": exact,
        "goals": {
            "growth_of_memory <= 1.3": growth <= 1.3,
            "time_over_direct <= 1.45": seconds["cached"] / seconds["direct"] <= 1.45,
            "loss_and_gradients_fp64 <= 1e-12": max(exact.values()) <= 1e-12,
        },
    }
    publish("gradient_cache", figures)


def extra_peak_mb(way: str, batch: int) -> float:
    """What one batch needs beside model and inputs."""
    found = in_own_process("benchmarks.gradient_cache", way, batch, return_memory=True)
    return float(found["extra_peak_mb"])


def measure(way: str, batch: int) -> dict[str, float]:
    """Loss and gradients of one batch, after a small one that loads what it needs."""
    torch.set_num_threads(1)
    model = small_model()
    accumulate(model, drawn(2, torch.float32), 2)
    model.zero_grad()
    inputs = drawn(batch, torch.float32)
    return peak_and_seconds(lambda: accumulate(model, inputs, MICRO_BATCH if way == "cached" else batch))


def seconds_of(batch: int) -> dict[str, float]:
    """Both ways in turn."""
    torch.set_num_threads(1)
    model, inputs = small_model(), drawn(batch, torch.float32)
    ways = {"cached": MICRO_BATCH, "direct": batch}
    return best_seconds({way: partial(accumulate, model, inputs, size) for way, size in ways.items()}, ROUNDS)


class Encoder(nn.Module):
    """A small transformer with dropout, pooled by its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(FEATURES, WIDTH)
        block = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.1, "gelu", batch_first=True, norm_first=True)
        self.trunk = nn.TransformerEncoder(block, DEPTH, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, EMBEDDING)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed (batch, tokens, features) into (batch, embedding)."""
        pooled: Tensor = self.head(self.trunk(self.enter(tokens)).mean(dim=1))
        return pooled


def small_model() -> Clibd:
    """The same each time."""
    torch.manual_seed(0)
    return Clibd({name: Encoder() for name in TOKENS}, temperature=0.07, trainable_temperature=True)


def drawn(batch: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tokens by modality, (batch, tokens, features)."""
    random = torch.Generator().manual_seed(1)
    return {name: torch.randn(batch, count, FEATURES, generator=random).to(dtype) for name, count in TOKENS.items()}


def accumulate(model: nn.Module, inputs: dict[str, Tensor], micro_batch: int, cached: bool = True) -> Tensor:
    """As training does."""
    count = len(next(iter(inputs.values())))
    sizes = Shares(batch_size=count, num_chunks=-(-count // micro_batch)).chunk_sizes(0)
    chunks = Chunks(sizes, torch.manual_seed)
    if cached and len(sizes) > 1:
        return accumulate_gradients(model, inputs, contrastive_loss, chunks, nullcontext)
    loss = contrastive_loss(*embed_at_once(model, inputs, chunks, nullcontext))
    loss.backward()
    return loss.detach()


def differences(batch: int, micro_batch: int) -> dict[str, float]:
    """Of loss and gradients, between replayed chunks and one graph, in fp64 with dropout."""
    found = []
    for cached in (True, False):
        model = small_model().double()
        loss = accumulate(model, drawn(batch, torch.float64), micro_batch, cached)
        found.append([loss, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)])
    differences = [(one - other).abs().max().item() for one, other in zip(*found, strict=True)]
    return {"loss": differences[0], "gradients": max(differences[1:])}


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
