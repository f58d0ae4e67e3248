"""What has to be right on a new GPU before its speed is of interest: gradients, dropout drawn again, checkpoints."""

import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu_measuring import free_memory, wait
from benchmarks.parts import Figures, UnfitError
from benchmarks.stage import Stage
from workloads.execution import Execution
from workloads.placement import kernels, matrix_products
from workloads.storage import Folder
from workloads.training.checkpoint import CheckpointStore
from workloads.training.step import Training

LIMIT = 2e-2
"""Largest relative error of a tower's gradient; bf16 has about 1e-2 with the paper's towers (docs/log.md)."""
EXACT = 1e-3
"""The same where both sides are fp32 and only sums are taken in another order."""
_BACKENDS = {
    "plain": SDPBackend.MATH,
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "chosen": None,
}
"""Kernels of attention; the last is what torch chooses by itself, as in training."""
_CHUNKS = 4


def gradients(stage: Stage) -> Figures:
    """Relative error of each tower's gradient in each precision with each kernel of attention, against fp32 with plain
    attention.

    Of embeddings along drawn directions, and not of the loss: untrained towers give every specimen nearly the same
    embedding, and what the loss makes of the differences has errors of 2 to 9 % in bf16 where nothing is wrong.

    Raises:
        UnfitError: one is above the limit.
    """
    model, device = stage.experiment.model.eval(), stage.device
    backends = _BACKENDS if device.type == "cuda" else {"plain": SDPBackend.MATH}  # a CPU's kernels are chosen inside
    inputs = {name: values.to(device) for name, values in stage.batch(stage.sizes.checked).items()}
    errors: dict[str, dict[str, float | str]] = {}
    for name, values in inputs.items():
        tower = model.towers[name]
        expected = _gradient(tower, values, "fp32", SDPBackend.MATH)
        found = errors[name] = {}
        for precision in ("fp32", "tf32", "bf16"):
            for kernel, backend in backends.items():
                try:
                    gradient = _gradient(tower, values, precision, backend)
                except RuntimeError as error:
                    found[f"{precision} {kernel}"] = (
                        "no such kernel" if "No available kernel" in str(error) else str(error)
                    )
                else:
                    found[f"{precision} {kernel}"] = _difference(gradient, expected)
    figures = {**stage.about, "limit": LIMIT, "relative_error": errors}
    wrong = [
        f"{name} in {how}"
        for name, found in errors.items()
        for how, error in found.items()
        if isinstance(error, float) and not error <= LIMIT  # not a number is wrong too
    ]
    if wrong:
        raise UnfitError(f"gradients are wrong: {', '.join(wrong)}", figures)
    return figures


def _gradient(tower: nn.Module, values: Tensor, precision: str, backend: SDPBackend | None) -> Tensor:
    """Of all parameters in one row."""
    parameters = [parameter for parameter in tower.parameters() if parameter.requires_grad]
    random = torch.Generator().manual_seed(0)
    with matrix_products(precision), nullcontext() if backend is None else sdpa_kernel(backend):
        with kernels(values.device, precision):
            rows = tower(values)
        rows = F.normalize(rows.float(), dim=-1)
        directions = torch.randn(rows.shape, generator=random).to(rows.device)
        found = torch.autograd.grad((rows * directions).sum(), parameters, allow_unused=True)
    return torch.cat([gradient.float().flatten() for gradient in found if gradient is not None])


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def replay(stage: Stage) -> Figures:
    """Whether a cached gradient, for which each chunk is embedded twice, is that of all at once, dropout and all; and
    how far apart two gradients are whose dropout differs.

    Raises:
        UnfitError: it is not, so that dropout was drawn otherwise the second time.
    """
    found: Figures = {**stage.about, "chunks": _CHUNKS}
    batch_size = _CHUNKS * stage.sizes.checked
    for precision, limit in (("fp32", EXACT), ("bf16", LIMIT)):
        free_memory(stage.device)
        whole = _step_gradient(stage, precision, batch_size)
        cached = _step_gradient(stage, precision, batch_size, at_a_time=stage.sizes.checked)
        again = _step_gradient(stage, precision, batch_size, at_a_time=stage.sizes.checked, checkpoint_blocks=True)
        other = _step_gradient(stage, precision, batch_size, seed=1)
        found[precision] = {
            "cached": _difference(cached, whole),
            "cached_with_checkpointed_blocks": _difference(again, whole),
            "other_dropout": _difference(other, whole),
            "limit": limit,
        }
        worst = max(found[precision]["cached"], found[precision]["cached_with_checkpointed_blocks"])
        if not worst <= limit or not worst < found[precision]["other_dropout"] / 2:
            raise UnfitError(f"dropout is not drawn again alike in {precision}", found)
    return found


def _step_gradient(
    stage: Stage,
    precision: str,
    batch_size: int,
    at_a_time: int | None = None,
    checkpoint_blocks: bool = False,
    seed: int = 0,
) -> Tensor:
    """Of one step of training in four chunks, all at once or some specimens at a time."""
    execution = Execution(
        micro_batch=at_a_time or batch_size, most_workers=_CHUNKS, checkpoint_blocks=checkpoint_blocks
    )
    spec = replace(stage.experiment.spec, batch_size=batch_size, precision=precision)  # type: ignore[arg-type] # literals
    batch = stage.batch(batch_size)
    training = stage.training(replace(spec, seed=seed), execution)
    training.cut(stage.specimens(batch_size))
    training.take_step(batch)
    return torch.cat([p.grad.flatten() for p in training.model.parameters() if p.grad is not None])


def checkpoint(stage: Stage) -> Figures:
    """What saving costs training and the disk, and whether a new process would go on from the same bits.

    Raises:
        UnfitError: it would not.
    """
    size = stage.sizes.batch
    spec, batch = replace(stage.experiment.spec, batch_size=size), stage.batch(size)
    training = stage.training(spec)
    training.cut(specimens := stage.specimens(size))
    training.take_step(batch)
    with tempfile.TemporaryDirectory(dir=stage.scratch) as folder:
        store = CheckpointStore(Folder(folder))
        store.save(*training.checkpoint())  # the first one takes the memory that the others use again
        store.wait()
        wait(stage.device)
        started = perf_counter()
        store.save(*training.checkpoint())
        paused = perf_counter() - started
        store.wait()
        written = perf_counter() - started
        resumed = stage.training(spec)
        started = perf_counter()
        resumed.resume(CheckpointStore(Folder(folder)), print)
        wait(stage.device)
        read = perf_counter() - started
    expected, found = (_tensors(each) for each in (training, resumed))
    resumed.cut(specimens)
    losses = []
    for each in (training, resumed):
        each.take_step(batch)
        losses.append(each.tally.losses[-1])
    figures = {
        "gb": sum(tensor.nbytes for tensor in expected.values()) / 1e9,
        "training_stands_seconds": paused,
        "written_after_seconds": written,
        "resumed_after_seconds": read,
        "next_loss": losses[0],
        "next_loss_resumed": losses[1],
    }
    differing = [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])]
    if differing or resumed.step != training.step:
        raise UnfitError(f"a checkpoint comes back otherwise: {', '.join(differing[:3])}", figures)
    return {**stage.about, **figures}


def _tensors(training: Training) -> Mapping[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in training.checkpoint()[0].items()}
