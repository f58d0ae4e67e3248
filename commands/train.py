"""`clibd train`: one experiment, here or under Ray."""

import os
from dataclasses import replace
from typing import Annotated

import typer

from workloads.execution import Execution
from workloads.training import options


def train(
    data: options.DataFolder,
    experiment: options.ExperimentName = "align",
    runs: options.RunsFolder = "runs",
    scale: options.ScaleName = "paper",
    recipe: options.RecipeName = "corrected",
    seed: options.Seed = 42,
    batch_size: options.BatchSize = None,
    epochs: options.Epochs = None,
    start_from: options.StartFrom = None,
    settings: options.Settings = None,
    micro_batch: options.MicroBatch = None,
    checkpoint_blocks: options.CheckpointBlocks = False,
    compile_towers: options.Compile = False,
    offline: options.Offline = False,
    wandb: options.Wandb = "off",
    cpu: options.CpuOnly = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Train under Ray with this many workers. Default: this process alone.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Train on this Ray cluster: `auto` on its head node.")] = None,
) -> None:
    """Train one experiment on a prepared data set.

    Started again after an interruption, it goes on from the last checkpoint. The batch is what the loss sees, whatever
    the number of workers and whatever fits the machine at a time. Without --workers and --address it needs no Ray, and
    is the same as `python -m workloads.training`.

    Example: clibd train simclr-image --data DIR, then clibd train align --data DIR --from RUN
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which comes next
    from workloads.training.command import Asked, train_here

    fields = tuple(settings or ())
    asked = Asked(experiment, data, runs, scale, recipe, seed, batch_size, epochs, start_from, fields)
    execution = Execution(micro_batch=micro_batch, checkpoint_blocks=checkpoint_blocks, compile=compile_towers)
    if workers is None and address is None:
        print(train_here(asked, execution, wandb, cpu).folder)
        return
    from orchestrator.session import resources_here
    from orchestrator.train_command import train_on_ray

    resources = replace(resources_here(workers, address, cpu), offline=offline, execution=execution)
    print(train_on_ray(asked, resources, address, wandb).folder)
