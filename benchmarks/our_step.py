"""Our training step by itself, over drawn specimens: what the benchmarks of training compare and measure."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.authors_path import PAD_ID, Sizes
from workloads.models.build import TowerInputs, build_model
from workloads.models.clibd import Clibd
from workloads.placement import kernels, matrix_products
from workloads.recipes import with_recipe
from workloads.spec import ExperimentSpec, Recipe
from workloads.tower_specs import DnaTower, ImageTower, TextTower
from workloads.training.loss import contrastive_loss

GFLOP_PER_SAMPLE = 177.35
"""Forward and backward of the paper's three towers, counted by `benchmarks.training_step`."""


def spec_of(sizes: Sizes, recipe: Recipe) -> ExperimentSpec:
    """An experiment with towers of these sizes, on no real data."""
    spec = ExperimentSpec(
        dataset="drawn",
        data_fingerprint="none",
        image=ImageTower(
            image_size=sizes.image_size,
            patch_size=sizes.patch_size,
            width=sizes.image_width,
            depth=sizes.image_depth,
            num_heads=sizes.image_heads,
        ),
        dna=DnaTower(
            width=sizes.dna_width,
            depth=sizes.dna_depth,
            num_heads=sizes.dna_heads,
            hidden_width=sizes.dna_hidden_width,
            dropout=sizes.dropout,
        ),
        text=TextTower(
            width=sizes.text_width,
            depth=sizes.text_depth,
            num_heads=sizes.text_heads,
            hidden_width=sizes.text_hidden_width,
            dropout=sizes.dropout,
        ),
        embedding_size=sizes.embedding_size,
    )
    spec = with_recipe(spec, recipe)
    return replace(spec, text=replace(spec.text, max_tokens=sizes.text_tokens))


class OurStep:
    """One optimisation step after another.

    Args:
        sizes: of the towers, which have random weights.
        device: where they are.
        recipe: decides their heads, pooling and what is trained.
        model: towers of these sizes and this recipe that are there already; None builds them.
    """

    def __init__(
        self, sizes: Sizes, device: torch.device, recipe: Recipe = "paper", model: Clibd | None = None
    ) -> None:
        inputs = TowerInputs(vocabulary_size=sizes.text_vocabulary, pad_id=PAD_ID)
        self.model = (model or build_model(spec_of(sizes, recipe), inputs, pretrained=False)).to(device).train()
        self.device = device
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-5, weight_decay=0.01, fused=True)

    def loss(self, batch: Mapping[str, Tensor], precision: str) -> Tensor:
        """The loss of one batch with its graph."""
        with kernels(self.device, precision):
            embedded, scale = self.model(self._moved(batch))
        return contrastive_loss(embedded, scale)

    def step(self, batch: Mapping[str, Tensor], precision: str = "bf16") -> Tensor:
        """Train on one batch of uint8 `image`, `dna` and `text`; returns the loss, without waiting for it."""
        with self._around(precision):
            loss = self.loss(batch, precision)
            loss.backward()
        self.update()
        return loss.detach()

    def _moved(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: values.to(self.device, non_blocking=True) for name, values in batch.items()}

    @contextmanager
    def _around(self, precision: str) -> Iterator[None]:
        """As in the training loop: TF32 and the choice of attention hold for the backward pass too."""
        with matrix_products(precision), kernels(self.device, "fp32"):
            yield

    def update(self) -> None:
        """Move the weights by the gradients, and forget these."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def gflop_per_sample(model: Clibd, batch: Mapping[str, Tensor]) -> float:
    """Operations of forward and backward of the towers, counted; on the `meta` device nothing is computed."""
    model.train()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # others are counted in another way
        torch.stack([rows.sum() for rows in model(batch)[0].values()]).sum().backward()
    model.zero_grad(set_to_none=True)
    return float(counter.get_total_flops()) / len(next(iter(batch.values()))) / 1e9
