"""Training by one command, here or under torchrun or Ray: `clibd train` and `python -m workloads.training`.

The same function carries out both. Ray is not known here: who registers the function as a command gives, as the
context's `obj`, what trains a run on Ray.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import typer

from workloads.errors import UsageError
from workloads.execution import Execution
from workloads.experiments import FROM_SCRATCH, Experiment, Scale
from workloads.lease import Busy, Lease, held
from workloads.printed_text import remark, say
from workloads.record import RunFolder
from workloads.spec import Recipe
from workloads.storage import Folder
from workloads.training.wandb_log import WandbMode

_ExperimentName = Annotated[
    Experiment,
    typer.Argument(
        help="align: all modalities of the data. image-dna, image-text: two of them. simclr-image, simclr-dna: one "
        "tower alone learns to know two views of a specimen. pretrain-dna: BarcodeBERT learns which 5-mers "
        "are hidden, named or not. bind-image, bind-image-text: DNA is bound to frozen "
        "BioCLIP. classify, classify-dna: the image or the DNA tower learns the seen species."
    ),
]
_DataFolder = Annotated[str, typer.Option(help="Prepared data set: a folder, or an s3:// or gs:// address.")]
_RunsFolder = Annotated[str, typer.Option(help="Where runs are kept; this one goes to RUNS/train/ID.")]
_ScaleName = Annotated[Scale, typer.Option(help="The published encoders, or small ones for two CPU cores.")]
_RecipeName = Annotated[
    Recipe, typer.Option(help="The paper's text, its authors' code, or the best we know (docs/fidelity.md).")
]
_Seed = Annotated[int, typer.Option(min=0, help="Of weights, order and dropout.")]
_BatchSize = Annotated[
    int | None,
    typer.Option(min=2, help="Specimens the loss sees per step. Default: the scale's; of a small data set an eighth."),
]
_Epochs = Annotated[int | None, typer.Option(min=1, help="Default: the experiment's, or as many as 600 steps take.")]
_StartFrom = Annotated[
    str | None,
    typer.Option("--from", help="Finished run or converted model whose towers it begins with: a folder or an address."),
]
_FromScratch = Annotated[
    bool, typer.Option("--from-scratch", help="Towers of the same size that draw all their weights; fetches nothing.")
]
_Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Set any field of the experiment: --set image.fine_tuning=lora --set max_learning_rate=1e-3"
    ),
]
_MicroBatch = Annotated[
    int | None,
    typer.Option(min=1, help="Specimens embedded at a time; the loss still sees the whole batch. Default: what fits."),
]
_CheckpointBlocks = Annotated[
    bool, typer.Option("--checkpoint-blocks", help="Compute the inside of each block again: a tenth of the memory.")
]
_Compile = Annotated[bool, typer.Option("--compile", help="Let torch compile the towers first; for long runs on GPUs.")]
_Offline = Annotated[bool, typer.Option("--offline", help="Take published weights from this machine only.")]
_Wandb = Annotated[WandbMode, typer.Option(help="Log to Weights & Biases as well.")]
_CpuOnly = Annotated[bool, typer.Option("--cpu", help="Train on the CPU, also where there are GPUs.")]
_Workers = Annotated[
    str | None,
    typer.Option(help="Train under Ray with this many workers: 4, or from 2-8. Default: this process alone."),
]
_GpuKind = Annotated[
    str | None, typer.Option(help="Under Ray: of several kinds of GPU this one, such as A100. Default: most on a node.")
]
_Wait = Annotated[
    str | None, typer.Option(help="Under Ray: wait for machines no longer than 90s, 30m, 2h. Default: without end.")
]
_Address = Annotated[str | None, typer.Option(help="Train on this Ray cluster: `auto` on its head node.")]
_BusyMode = Annotated[
    Busy,
    typer.Option(help="Where another process trains this run: refuse, wait for it, or wait and show how far it is."),
]


def train(
    context: typer.Context,
    data: _DataFolder,
    experiment: _ExperimentName = "align",
    runs: _RunsFolder = "runs",
    scale: _ScaleName = "paper",
    recipe: _RecipeName = "corrected",
    seed: _Seed = 42,
    batch_size: _BatchSize = None,
    epochs: _Epochs = None,
    start_from: _StartFrom = None,
    from_scratch: _FromScratch = False,
    settings: _Settings = None,
    micro_batch: _MicroBatch = None,
    checkpoint_blocks: _CheckpointBlocks = False,
    compile_towers: _Compile = False,
    offline: _Offline = False,
    wandb: _Wandb = "off",
    cpu: _CpuOnly = False,
    workers: _Workers = None,
    address: _Address = None,
    gpu_kind: _GpuKind = None,
    wait: _Wait = None,
    busy: _BusyMode = "refuse",
) -> None:
    """Train one experiment on a prepared data set.

    Started again after an interruption, it goes on from the last checkpoint. The batch is what the loss sees, whatever
    the number of workers and whatever fits the machine at a time. Without --workers and --address it needs no Ray, and
    is the same as `python -m workloads.training`, which may also be started by torchrun.

    Example: clibd train simclr-image --data DIR, then clibd train align --data DIR --from RUN
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which comes next
    from workloads.data.inputs.who_trains import any_named, num_trained
    from workloads.data.prepared.dataset import PreparedDataset
    from workloads.fields import fields_of
    from workloads.models.published import beginning_words
    from workloads.training.report import result_words
    from workloads.training.run import asked_spec, is_finished, train_here
    from workloads.training.sizing import fitted, sizing_words

    if from_scratch and start_from:
        raise UsageError("--from-scratch draws all weights and --from takes those of a run; leave one of them out")
    dataset = PreparedDataset(Folder(data))
    settings = [*(FROM_SCRATCH if from_scratch else ()), *(settings or ())]
    asked = (experiment, scale, recipe, seed, batch_size, epochs, start_from, settings)
    spec, places = asked_spec(dataset.facts.data, *asked)
    first = os.environ.get("RANK", "0") == "0"
    num_specimens = num_trained(spec, dataset.facts)
    chosen = {*_named(batch_size, epochs), *fields_of(settings or ())}
    fits = fitted(spec, num_specimens, chosen, any_named(dataset.facts))
    if first:
        remark(sizing_words(fits, num_specimens, spec))
    spec = fits
    run = RunFolder(Folder(runs) / "train" / spec.id)
    point = {"sweep": "train", "row": {}, "label": experiment, "scale": scale}
    execution = Execution(micro_batch=micro_batch, checkpoint_blocks=checkpoint_blocks, compile=compile_towers)
    machines = {"cpu_only": cpu, "workers": workers, "gpu_kind": gpu_kind, "wait": wait, "address": address}
    finished = is_finished(run, spec, places)
    if not finished:
        on_ray = _on_ray(context.obj, machines, offline=offline, execution=execution)
        beginning = [] if on_ray else beginning_words(spec)  # Ray's machines look for themselves
        if first and beginning:
            remark("\n".join(beginning))
        with _writing(run, busy) as lease:
            finished = is_finished(run, spec, places)  # another process may have done it while this one waited
            if on_ray and not finished:
                on_ray(run, spec, point, str(dataset.folder), places, wandb, lease)
            elif not finished:
                train_here(run, spec, point, dataset, execution, places, wandb, cpu)
    if finished:
        remark(f"{run.folder} is finished already")
    say(run.folder)
    if first:
        remark(result_words(run, data))


def _named(batch_size: int | None, epochs: int | None) -> list[str]:
    """Those of the two fields that options of their own have set."""
    return [name for name, value in (("batch_size", batch_size), ("epochs", epochs)) if value is not None]


def _on_ray(looking: Callable[..., Any] | None, machines: Mapping[str, Any], **how: Any) -> Callable[..., None] | None:
    """What trains on Ray, which has looked at its machines before a run begins; None where this process trains.

    Raises:
        UsageError: the options of machines contradict each other or what there is.
    """
    if machines["workers"] is None and machines["address"] is None:
        if machines["gpu_kind"] or machines["wait"]:
            raise UsageError("--gpu-kind and --wait choose among Ray's machines; add --workers or --address")
        return None
    if looking is None:
        raise UsageError("--workers and --address start Ray, as `clibd train` does; here torchrun starts processes")
    on_ray: Callable[..., None] = looking(**machines, **how)
    return on_ray


def _writing(run: RunFolder, busy: Busy) -> AbstractContextManager[Lease | None]:
    """Hold a run; of several processes the first one does.

    Raises:
        UsageError: several processes are to wait, of which only one would know for what.
        RunBusyError: another process holds it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and busy != "refuse":
        raise UsageError(f"--busy {busy} is for one process; torchrun's others would not know how long to wait")
    return held(run.folder, busy) if os.environ.get("RANK", "0") == "0" else nullcontext()
