"""The gate between image and barcode, learned once the towers are trained, which stay as they are.

It is fitted to the run's labelled training specimens by a supervised contrastive loss. With f a fused unit row, s the
model's inverse temperature and P(n) the other specimens of n's species,

    L = mean over n of  - log sum over p in P(n) of exp(s f_n·f_p) + log sum over m /= n of exp(s f_n·f_m)
        + 1/1000 (|a|^2 + |b|^2)

over specimens with image and barcode whose species has another one. It starts as the mean (all weights 0). Training the
gate with the towers instead would let these serve the fused row, and so change what image and barcode alone can do.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.arrays import Indices
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.schema import subset_of
from workloads.errors import SpecError
from workloads.evaluation.embed import embed_all
from workloads.evaluation.embedded import Embedded, unit
from workloads.evaluation.fusion import GATE, Gate
from workloads.models.loaded import LoadedModel
from workloads.placement import Placement
from workloads.record import RunFolder

MOST = 2048
"""Specimens that it is fitted to, drawn by the run's seed where there are more: all pairs of them take 32 MB."""
_STEPS = 30
_PENALTY = 1e-3


def learn_gate(experiment: LoadedModel, dataset: PreparedDataset, placement: Placement, run: RunFolder) -> None:
    """Fit the gate of a trained run and keep it; called on every worker of a group alike, and the first one writes.

    Raises:
        SpecError: too few training specimens have an image, a barcode and a species for it.
    """
    labelled = [split for split in dataset.facts.splits.training if subset_of(split) == "seen"]
    specimens = experiment.specimens(dataset, labelled, ["image", "dna"])
    embedded = embed_all(experiment, specimens, placement)
    if placement.rank == 0:
        with torch.inference_mode():
            scale = float(experiment.model.log_scale.exp())
        gate = fit_gate(embedded, scale, experiment.spec.seed)
        run.folder.write_json(GATE, {"image": gate.image.tolist(), "dna": gate.dna.tolist(), "bias": gate.bias})


def fit_gate(embedded: Embedded, scale: float, seed: int) -> Gate:
    """The gate with the least loss.

    Args:
        embedded: labelled training specimens.
        scale: inverse temperature.
        seed: of which are drawn.

    Raises:
        SpecError: of not one species two specimens have both.
    """
    rows = _chosen(embedded, seed)
    if not len(rows):
        raise SpecError(
            "fusion 'gate' is learned from species of which two training specimens have an image and a barcode, and "
            "there is none: choose 'mean' or 'concatenation'"
        )
    image, dna = (torch.from_numpy(unit(embedded.rows[name][rows])).double() for name in ("image", "dna"))
    names = np.unique(embedded.labels["species"][rows].astype(str), return_inverse=True)[1]
    weights = torch.zeros(2 * image.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe")
    species = torch.from_numpy(names)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = gate_loss(weights, image, dna, species, scale)
        loss.backward()
        return loss

    step: Callable[[Callable[[], Tensor]], Tensor] = optimizer.step
    step(closure)
    a, b = weights.detach()[:-1].numpy().reshape(2, -1)
    return Gate(a, b, float(weights.detach()[-1]))


def gate_loss(weights: Tensor, image: Tensor, dna: Tensor, species: Tensor, scale: float) -> Tensor:
    """L above, scalar.

    Args:
        weights: a, b and c one behind the other, (2 size + 1,).
        image: unit rows, (specimens, size).
        dna: unit rows of the same, (specimens, size).
        species: numbers of their names, each there twice at least, (specimens,).
        scale: inverse temperature.
    """
    share = torch.sigmoid(torch.cat([image, dna], dim=1) @ weights[:-1] + weights[-1])[:, None]
    rows = F.normalize(share * image + (1 - share) * dna, dim=1)
    oneself = torch.eye(len(rows), dtype=torch.bool)
    logits = (scale * rows @ rows.T).masked_fill(oneself, -torch.inf)
    others = species[:, None] != species[None, :]
    per_row = torch.logsumexp(logits, dim=1) - torch.logsumexp(logits.masked_fill(others, -torch.inf), dim=1)
    return per_row.mean() + _PENALTY * weights[:-1].square().sum()


def _chosen(embedded: Embedded, seed: int) -> Indices:
    """Specimens with both and a species that another of them has, (chosen,)."""
    rows = embedded.having(["image", "dna"])
    rows = rows[[name is not None for name in embedded.labels["species"][rows]]]
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST, replace=False))
    _, which, counts = np.unique(embedded.labels["species"][rows].astype(str), return_inverse=True, return_counts=True)
    return np.asarray(rows[counts[which] > 1])
